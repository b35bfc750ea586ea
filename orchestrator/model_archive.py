"""A model version as one file: its artefact and a card that says what it is; checked without loading it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import yaml

from orchestrator.registry import Registry
from storage import records
from storage.errors import DeploymentRefused, FileInTheWay, ModelAltered, ModelError
from storage.model_files import CHUNK_BYTES, check_model, file_sha256
from storage.models import ModelVersion

CARD = "card.yaml"
FACTS = (
    *("id", "recipe", "detector", "sha256", "configuration", "ok_threshold", "ng_threshold", "metrics", "parent"),
    *("snapshot", "training_run", "code_version", "created_at", "deployments"),
)
"""What a card tells; what else it must have is `files`."""


def write_archive(registry: Registry, version: str, file: Path) -> str:
    """Write the file and return its SHA-256; an artefact that is missing or altered is not exported."""
    if file.exists():
        raise FileInTheWay(file, f"{file} is already there")
    card = registry.shown(version)
    registry.check(version)
    folder = registry.models / version
    files = sorted(path for path in folder.iterdir() if path.is_file())
    told = {name: card[name] for name in FACTS} | {"files": {path.name: file_sha256(path) for path in files}}
    draft = file.with_name(f".{file.name}.draft")
    try:
        with tarfile.open(draft, "w", dereference=True) as archive:
            text = yaml.safe_dump(plain(told), sort_keys=False, allow_unicode=True).encode()
            member = tarfile.TarInfo(CARD)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
            for path in files:
                archive.add(path, path.name)
        draft.replace(file)
    except OSError as error:
        raise FileInTheWay(file, f"{file} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return file_sha256(file)


def plain(facts: dict[str, Any]) -> Any:
    """Times and ids as their text."""
    return json.loads(json.dumps(facts, default=lambda one: one.isoformat() if hasattr(one, "isoformat") else str(one)))


def is_archive(file: Path) -> bool:
    return tarfile.is_tarfile(file)


def read_card(file: Path) -> dict[str, Any]:
    """What the card says, after every file was checked against it; ModelAltered names the first that differs."""
    hashes: dict[str, str] = {}
    card: dict[str, Any] | None = None
    for name, content in members(file):
        if name == CARD:
            card = parsed(file, content)
        else:
            hashes[name] = digest(content)
    if card is None:
        raise ModelError(f"{file}: there is no {CARD} in it, so it is no file of `adline model export`")
    for name in sorted({*card["files"], *hashes}):
        wanted, found = card["files"].get(name, "none"), hashes.get(name, "none")
        if wanted != found:
            raise ModelAltered(file / name, wanted, found)
    listing = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    found = hashlib.sha256(listing.encode()).hexdigest()
    if found != card["sha256"]:
        raise ModelAltered(file, card["sha256"], found)
    return card


def members(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Plain files without a folder; anything else is refused."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or Path(member.name).name != member.name:
                    raise ModelError(
                        f"{file}: {member.name!r} is no plain file, so it is no file of `adline model export`"
                    )
                yield member.name, content
    except (tarfile.TarError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def parsed(file: Path, content: IO[bytes]) -> dict[str, Any]:
    try:
        card = yaml.safe_load(content.read())
    except yaml.YAMLError as error:
        raise ModelError(f"{file}: its {CARD} cannot be read: {error}") from error
    missing = [name for name in (*FACTS, "files") if not isinstance(card, dict) or name not in card]
    if missing:
        raise ModelError(f"{file}: its {CARD} does not say {', '.join(missing)}")
    return dict(card)


def digest(content: IO[bytes]) -> str:
    found = hashlib.sha256()
    while chunk := content.read(CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()


def import_archive(registry: Registry, file: Path) -> dict[str, Any]:
    """Take an exported version into this line's registry, deployed nowhere."""
    card = read_card(file)
    id = str(card["id"])
    if Path(id).name != id or id in ("", ".", ".."):
        raise ModelError(f"{file}: {id!r} is no name of a model version")
    if registry.session.get(ModelVersion, id) is not None:
        raise DeploymentRefused(f"a model version {id} is on record already")
    folder = registry.models / id
    if folder.exists():
        raise FileInTheWay(folder, f"{folder} is already there, and no model version {id} is on record")
    draft = registry.models / f".{id}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, content in members(file):
        if name != CARD:
            with (draft / name).open("wb") as out:
                shutil.copyfileobj(content, out)
    check_model(draft, card["sha256"])
    records.register_model(registry.session, row(registry, card))
    draft.rename(folder)
    return {"id": id, "recipe": card["recipe"], "sha256": card["sha256"]}


def row(registry: Registry, card: dict[str, Any]) -> ModelVersion:
    parent = card["parent"]
    return ModelVersion(
        id=card["id"],
        recipe=card["recipe"],
        detector=card["detector"],
        sha256=card["sha256"],
        configuration=card["configuration"],
        ok_threshold=card["ok_threshold"],
        ng_threshold=card["ng_threshold"],
        metrics=card["metrics"] | {"imported": {"parent": parent, "created_at": card["created_at"]}},
        parent=parent if parent and registry.session.get(ModelVersion, parent) else None,
        snapshot=card["snapshot"],
        training_run=UUID(card["training_run"]) if card["training_run"] else None,
        code_version=card["code_version"],
    )
