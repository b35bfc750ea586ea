"""Fetching one large file: with progress, resumed where it was interrupted, checked against its SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from storage.errors import DownloadAltered, DownloadFailed

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0

ProgressReport = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where known, all bytes."""


def download(url: str, target: Path, sha256: str | None, report: ProgressReport) -> Path:
    """Fetch the URL into target; a file begun by an interrupted call is continued.

    sha256 may be the first digits of the hash alone: some publishers give no more.
    """
    if target.is_file() and (sha256 is None or sha256_of(target).startswith(sha256)):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    try:
        _fetch(url, partial, report)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(
            f"{url}: {error}; what has arrived is kept and the next call goes on from there"
        ) from error
    check(partial, sha256)
    partial.replace(target)
    return target


def check(path: Path, sha256: str | None) -> str:
    """The file's SHA-256; when it is not the one that was promised, the file is deleted."""
    found = sha256_of(path)
    if sha256 is not None and not found.startswith(sha256):
        path.unlink()
        raise DownloadAltered(path, sha256, found)
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, partial: Path, report: ProgressReport) -> None:
    here = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={here}-"} if here else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if here and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                # Every byte had arrived before the interruption; the hash decides whether they are the right ones.
                return
            raise
    with response:
        if getattr(response, "status", None) != http.HTTPStatus.PARTIAL_CONTENT:
            here = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = here + int(length) if length is not None else None
        with partial.open("ab" if here else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                here += len(chunk)
                report(here, total)
    if total is not None and here < total:
        raise OSError(f"the connection ended after {here} of {total} bytes")
