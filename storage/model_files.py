"""A model's files on disk, checked without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from storage.errors import ModelAltered, ModelMissing

CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes; ModelMissing when it is not there."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ModelMissing(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


def artefact_sha256(folder: Path) -> str:
    """One hash for all files of a model: over the sorted list of their names and hashes."""
    if not folder.is_dir():
        raise ModelMissing(f"{folder}: no such model folder")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    listing = "".join(f"{file_sha256(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def check_model(folder: Path, expected_sha256: str) -> None:
    """ModelAltered when the files are not those that were registered."""
    found = artefact_sha256(folder)
    if found != expected_sha256:
        raise ModelAltered(folder, expected_sha256, found)
