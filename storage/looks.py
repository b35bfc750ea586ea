"""What parts under review look like, in a Postgres without pgvector: plain bytes, compared here, window by window.

The windows, the distances and the answers are those of storage.embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

RECORD: Final = text(
    "INSERT INTO looks (inspection_id, model_version, embedding) "
    "VALUES (:inspection_id, :model_version, :embedding) ON CONFLICT DO NOTHING"
)
CANDIDATES: Final = """
    SELECT r.id, e.model_version, e.embedding FROM reviews r JOIN looks e USING (inspection_id)
    WHERE {free} ORDER BY r.opened_at LIMIT :candidates
"""
DECIDED: Final = text(
    """
    SELECT l.id, e.model_version, e.embedding FROM looks e
    JOIN (SELECT id, inspection_id FROM labels ORDER BY id DESC LIMIT :decided) l USING (inspection_id)
    """
)
IN_FORCE: Final = text(
    """
    SELECT d.id, e.model_version, e.embedding FROM looks e JOIN (
        SELECT l.id, l.inspection_id FROM labels l JOIN reviews r ON r.label_id = l.id
        WHERE l.inspection_id <> :inspection_id ORDER BY l.id DESC LIMIT :window
    ) d USING (inspection_id) WHERE e.model_version = :model_version ORDER BY d.id DESC
    """
)
OPEN: Final = """
    SELECT r.id, e.model_version, e.embedding FROM reviews r JOIN looks e USING (inspection_id)
    WHERE {free} AND r.station = :of_station AND r.inspection_id <> :inspection_id AND r.reason <> 'sampled'
        AND e.model_version = :model_version ORDER BY r.opened_at LIMIT :window
"""
MINE: Final = text("SELECT model_version, embedding FROM looks WHERE inspection_id = :inspection_id")


class Looks(NamedTuple):
    """Rows and their embeddings, of length one: (rows, dimensions)."""

    ids: list[UUID]
    versions: list[str]
    vectors: NDArray[np.float32]


def record(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    session.execute(RECORD, list(rows))


def read(rows: Sequence[Row[Any]]) -> Looks:
    """Rows of one dimension each; what is empty has none."""
    vectors = [unit(row.embedding) for row in rows]
    return Looks([row.id for row in rows], [row.model_version for row in rows], np.array(vectors, np.float32))


def unit(embedding: bytes) -> NDArray[np.float32]:
    vector = np.frombuffer(embedding, "<f4")
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def diverse(session: Session, free: str, parameters: dict[str, Any]) -> list[UUID]:
    """As storage.embeddings.diverse: first the review farthest from everything decided last by its own model."""
    rows = session.execute(text(CANDIDATES.format(free=free)), parameters).all()
    decided = session.execute(DECIDED, {"decided": parameters["decided"]}).all()
    far: list[tuple[float, UUID]] = []
    for version in {row.model_version for row in rows}:
        mine = read([row for row in rows if row.model_version == version])
        theirs = read([row for row in decided if row.model_version == version])
        nearest = (1 - mine.vectors @ theirs.vectors.T).min(axis=1) if theirs.ids else np.full(len(mine.ids), np.inf)
        far += zip((-nearest).tolist(), mine.ids, strict=True)
    return [id for _, id in sorted(far)]


def similar(session: Session, facts: dict[str, Any]) -> dict[UUID, float]:
    """As storage.embeddings.similar."""
    return nearest(session, IN_FORCE, facts)


def near_duplicates(session: Session, free: str, facts: dict[str, Any]) -> list[UUID]:
    """As storage.embeddings.near_duplicates."""
    found = nearest(session, text(OPEN.format(free=free)), facts)
    return [id for id, apart in found.items() if apart <= facts["distance"]]


def nearest(session: Session, query: TextClause, facts: dict[str, Any]) -> dict[UUID, float]:
    """Of the rows the query finds the most like the inspection, each with its distance."""
    mine = session.execute(MINE, {"inspection_id": facts["inspection_id"]}).one_or_none()
    rows = session.execute(query, facts | {"model_version": mine.model_version}).all() if mine else []
    if mine is None or not rows:
        return {}
    theirs = read(rows)
    apart = 1 - theirs.vectors @ unit(mine.embedding)
    order = np.argsort(apart, kind="stable")[: facts["limit"]]
    return {theirs.ids[place]: float(apart[place]) for place in order}
