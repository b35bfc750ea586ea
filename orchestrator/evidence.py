"""The stored images held against the records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.orm import Session

from storage import audit
from storage.audit import StoredEvidence
from storage.errors import ImageAltered, ImageMissing, NotOnRecord
from storage.image_store import ImageStore

DIGEST = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{32}")


def digest_of(named: str) -> str:
    """A SHA-256 or MD5 as it is; of a file, the SHA-256 of its bytes."""
    if DIGEST.fullmatch(named):
        return named.lower()
    path = Path(named).expanduser()
    if not path.is_file():
        raise NotOnRecord(f"{named}: neither a SHA-256 (64 hex digits), nor an MD5 (32), nor a file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(session: Session, images: Path) -> Iterator[tuple[StoredEvidence, str | None]]:
    """Every image the records name, with what is wrong with it; None when it is as it was stored."""
    store = ImageStore(images)
    return ((evidence, fault(store, evidence)) for evidence in audit.stored_images(session))


def fault(store: ImageStore, evidence: StoredEvidence) -> str | None:
    try:
        data = store.get(evidence.sha256)
    except (ImageAltered, ImageMissing) as error:
        return str(error)
    except OSError as error:
        return f"{evidence.sha256}: cannot be read: {error}"
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if evidence.md5 not in (None, md5):
        return f"{evidence.sha256}: the record says MD5 {evidence.md5}, the file has {md5}; the record was altered"
    if evidence.size_bytes not in (None, len(data)):
        return f"{evidence.sha256}: the record says {evidence.size_bytes} bytes, the file has {len(data)}"
    return None
