"""What parts under review look like to the model: for the diverse order, for likeness, for duplicates.

In pgvector where the database has it, else as plain bytes (storage.looks), with the same answers.

Everything here looks at a window of candidates, so that its cost does not grow with the records. Distances are cosine
distances in [0, 2], between embeddings of one model version.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from storage import looks
from storage.events import PredictionFacts

CANDIDATES = 64  # open reviews, the oldest, among which the most diverse is looked for
DECIDED_LAST = 32  # decisions they are compared with
DECIDED_WINDOW = 2000  # newest decisions among which similar parts are looked for
DUPLICATE_WINDOW = 200  # open reviews among which near-duplicates are looked for

AVAILABLE = text("SELECT to_regclass('embeddings') IS NOT NULL")
RECORD = text(
    "INSERT INTO embeddings (inspection_id, model_version, embedding) "
    "VALUES (:inspection_id, :model_version, CAST(:embedding AS vector)) ON CONFLICT DO NOTHING"
)
DIVERSE = """
    WITH candidates AS MATERIALIZED (
        SELECT r.id, e.model_version, e.embedding FROM reviews r JOIN embeddings e USING (inspection_id)
        WHERE {free} ORDER BY r.opened_at LIMIT :candidates
    ), decided AS MATERIALIZED (
        SELECT e.model_version, e.embedding FROM embeddings e
        JOIN (SELECT inspection_id FROM labels ORDER BY id DESC LIMIT :decided) l USING (inspection_id)
    )
    SELECT c.id FROM candidates c LEFT JOIN decided d ON d.model_version = c.model_version
    GROUP BY c.id ORDER BY min(c.embedding <=> d.embedding) DESC NULLS FIRST, c.id
"""
SIMILAR = text(
    """
    WITH decided AS MATERIALIZED (
        SELECT l.id, l.inspection_id FROM labels l JOIN reviews r ON r.label_id = l.id
        WHERE l.inspection_id <> :inspection_id ORDER BY l.id DESC LIMIT :window
    )
    SELECT d.id AS label_id, e.embedding <=> mine.embedding AS distance
    FROM embeddings mine JOIN embeddings e ON e.model_version = mine.model_version
    JOIN decided d ON d.inspection_id = e.inspection_id
    WHERE mine.inspection_id = :inspection_id ORDER BY distance, d.id DESC LIMIT :limit
    """
)
DUPLICATES = """
    WITH candidates AS MATERIALIZED (
        SELECT r.id, e.embedding FROM reviews r JOIN embeddings e USING (inspection_id)
        JOIN embeddings mine ON mine.inspection_id = :inspection_id AND mine.model_version = e.model_version
        WHERE {free} AND r.station = :of_station AND r.inspection_id <> :inspection_id AND r.reason <> 'sampled'
        ORDER BY r.opened_at LIMIT :window
    )
    SELECT c.id FROM candidates c JOIN embeddings mine ON mine.inspection_id = :inspection_id
    WHERE c.embedding <=> mine.embedding <= :distance ORDER BY c.embedding <=> mine.embedding LIMIT :limit
"""


def available(session: Session) -> bool:
    """Whether this Postgres has pgvector and the table that needs it."""
    return bool(session.scalar(AVAILABLE))


def record(session: Session, views: Iterable[tuple[UUID, PredictionFacts | None]]) -> None:
    """Write the embedding of each part under review once."""
    rows: list[dict[str, Any]] = [
        {"inspection_id": id, "model_version": view.model_version, "embedding": view.embedding}
        for id, view in views
        if view is not None and view.embedding
    ]
    if rows and available(session):
        session.execute(RECORD, [row | {"embedding": vector(row["embedding"])} for row in rows])
    elif rows:
        looks.record(session, rows)


def move(connection: Connection) -> None:
    """What was kept as plain bytes into pgvector, when the database has got it since."""
    rows = connection.execute(text("SELECT inspection_id, model_version, embedding FROM looks")).mappings().all()
    if rows and connection.scalar(AVAILABLE):
        connection.execute(RECORD, [{**row, "embedding": vector(row["embedding"])} for row in rows])
        connection.execute(text("DELETE FROM looks"))


def vector(embedding: bytes) -> str:
    """As pgvector reads it."""
    return json.dumps(struct.unpack(f"<{len(embedding) // 4}f", embedding), allow_nan=False)


def diverse(session: Session, free: str, parameters: dict[str, Any]) -> list[UUID]:
    """Free reviews, first the one farthest from everything decided last: greedy k-center, over a window.

    free: the condition that a review of alias r can be claimed. Sener and Savarese, "Active Learning for Convolutional
    Neural Networks: A Core-Set Approach", ICLR 2018.
    """
    windows = {"candidates": CANDIDATES, "decided": DECIDED_LAST}
    if not available(session):
        return looks.diverse(session, free, parameters | windows)
    return list(session.scalars(text(DIVERSE.format(free=free)), parameters | windows))


def similar(session: Session, inspection_id: UUID, limit: int) -> dict[UUID, float]:
    """Labels in force of the most similar parts among those decided last, with their distances, nearest first."""
    facts = {"inspection_id": inspection_id, "window": DECIDED_WINDOW, "limit": limit}
    if not available(session):
        return looks.similar(session, facts)
    return {row.label_id: row.distance for row in session.execute(SIMILAR, facts)}


def near_duplicates(
    session: Session,
    inspection_id: UUID,
    station: str,
    distance: float,
    limit: int,
    free: str,
    parameters: dict[str, Any],
) -> list[UUID]:
    """Free reviews of the station that show what this inspection shows.

    None of the random sample: decided out of turn because they look like another part, they would be no random draw.
    """
    facts = {"inspection_id": inspection_id, "of_station": station, "distance": distance, "limit": limit}
    facts |= parameters | {"window": DUPLICATE_WINDOW}
    if not available(session):
        return looks.near_duplicates(session, free, facts)
    return list(session.scalars(text(DUPLICATES.format(free=free)), facts))
