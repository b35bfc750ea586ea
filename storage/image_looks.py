"""What was measured of images before. Functions take a session and never commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import records
from storage.snapshot_models import ImageLook


def known(session: Session, method: str, sha256s: Sequence[str]) -> list[ImageLook]:
    """Of those images what this method measured."""
    query = select(ImageLook).where(ImageLook.method == method, ImageLook.sha256.in_(sha256s))
    return list(session.scalars(query))


def record(session: Session, looks: Sequence[dict[str, Any]]) -> None:
    """Measured twice at once is measured once."""
    records.insert_once(session, ImageLook, looks)
