"""What `adline bench queue` puts into the tables, and what it finds there afterwards.

Nothing here shares a statement with the queue: it is what the queue is held against. Inspections and labels cannot be
deleted, so the rows stay; they have a run and a station of their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage import records
from storage.code_version import code_version
from storage.errors import NotOnRecord
from storage.events import new_id

CHUNK = 50_000
RECIPE = "SELECT i.recipe_id FROM inspections i JOIN frames f ON f.inspection_id = i.id LIMIT 1"

# UUIDs of version 7 that count up: `at` is twelve hexadecimal digits of milliseconds, `salt` three of chance.
INSPECTIONS = """
    INSERT INTO inspections (id, run_id, station, recipe_id, part_id, trigger_source, trigger_number, triggered_at)
    SELECT {id}, :run_id, :station, :recipe_id, 'bench-' || n, 'software', n, now()
    FROM generate_series(CAST(:first AS bigint), :last) AS n
"""
ID = "CAST(:at || '7000' || '8' || :salt || lpad(to_hex(n), 12, '0') AS uuid)"
# An inspection without a verdict would be taken for one that got stuck, and scored.
VERDICTS = f"""
    INSERT INTO verdicts (inspection_id, verdict, reason, anomaly_score, decided_at, stage_milliseconds)
    SELECT {ID}, 'REVIEW', 'bench', (n % 1000) / 1000.0, now(), '{{}}'
    FROM generate_series(CAST(:first AS bigint), :last) AS n
"""
FRAMES = f"""
    INSERT INTO frames (inspection_id, camera, sha256, md5, size_bytes, media_type, width, height, channels, bit_depth,
        frame_number, captured_at)
    SELECT {ID}, f.camera, f.sha256, f.md5, f.size_bytes, f.media_type, f.width, f.height, f.channels, f.bit_depth, n,
        f.captured_at
    FROM generate_series(CAST(:first AS bigint), :last) AS n
    JOIN (
        SELECT row_number() OVER () - 1 AS place, count(*) OVER () AS many, one.*
        FROM (SELECT * FROM frames ORDER BY inspection_id DESC LIMIT 200) one
    ) f ON f.place = n % f.many
"""
REVIEWS = f"""
    INSERT INTO reviews (id, inspection_id, reason, state, station, margin)
    SELECT {ID}, {ID}, 'uncertain', 'open', :station, (n % 1000) / 1000.0
    FROM generate_series(CAST(:first AS bigint), :last) AS n
"""
# In one statement: each of the two rows names the other, and the keys are checked at its end.
DECIDED = f"""
    WITH decided AS (
        INSERT INTO labels (id, review_id, inspection_id, round, opinion, decision, defects, note, source, decided_by,
            decided_at, took_milliseconds, token, lease_until)
        SELECT {ID}, {ID}, {ID}, 1, 1, 'normal', '{{}}', '', 'import', 'bench', now(), 0, 1, now()
        FROM generate_series(CAST(:first AS bigint), :last) AS n
    )
    INSERT INTO reviews (id, inspection_id, reason, state, station, margin, token, answered_by, label_id)
    SELECT {ID}, {ID}, 'uncertain', 'resolved', :station, (n % 1000) / 1000.0, 2, '{{bench}}', {ID}
    FROM generate_series(CAST(:first AS bigint), :last) AS n
"""
LABELS = text(
    """
    SELECT l.id, l.review_id, l.decided_by, l.token, l.round, l.opinion, l.decided_at, l.lease_until
    FROM labels l JOIN reviews r ON r.id = l.review_id WHERE r.station = :station
    """
)
UNDECIDED = text(
    "SELECT count(*) FROM reviews r WHERE r.station = :station AND NOT EXISTS "
    "(SELECT FROM labels l WHERE l.review_id = r.id)"
)
OPEN = text("SELECT count(*) FROM reviews WHERE station = :station AND state = 'open'")


@dataclass(frozen=True)
class Ground:
    """Where a bench's rows are."""

    run_id: UUID
    station: str
    recipe_id: int
    at: str
    salt: str


@dataclass(frozen=True)
class LabelFound:
    """A decision in the table."""

    id: UUID
    review_id: UUID
    decided_by: str
    token: int
    round: int
    opinion: int
    decided_at: datetime
    lease_until: datetime


def prepare(session: Session, station: str, host: str) -> Ground:
    """A run and a station of its own; NotOnRecord when the line has seen no part yet."""
    recipe_id = session.scalar(text(RECIPE))
    if recipe_id is None:
        raise NotOnRecord("the line has recorded no frame yet; the bench puts real frames before its clients")
    run_id = new_id()
    records.open_run(session, run_id, station, code_version(), host, {})
    session.flush()
    records.register_station(session, station, station)
    return Ground(run_id, station, recipe_id, f"{run_id.int >> 80:012x}", f"{run_id.int & 0xFFF:03x}")


def fill(session: Session, ground: Ground, first: int, last: int, decided: bool) -> None:
    """Reviews of these numbers: open ones with frames, or decided ones."""
    facts = {**asdict(ground), "first": first, "last": last}
    for statement in (INSPECTIONS.format(id=ID), VERDICTS, *((DECIDED,) if decided else (FRAMES, REVIEWS))):
        session.execute(text(statement), facts)


def chunks(first: int, count: int) -> list[tuple[int, int]]:
    """Numbers in transactions that are not too long."""
    return [(start, min(start + CHUNK, first + count) - 1) for start in range(first, first + count, CHUNK)]


def labels_of(session: Session, station: str) -> list[LabelFound]:
    return [LabelFound(**row) for row in session.execute(LABELS, {"station": station}).mappings()]


def undecided(session: Session, station: str) -> int:
    """Reviews without any decision."""
    return int(session.scalar(UNDECIDED, {"station": station}) or 0)


def still_open(session: Session, station: str) -> int:
    return int(session.scalar(OPEN, {"station": station}) or 0)


def withdraw(session: Session, station: str) -> None:
    """Take back reviews that nobody was to decide, so that no person is asked about them."""
    session.execute(text("DELETE FROM reviews WHERE station = :station AND state = 'open'"), {"station": station})
