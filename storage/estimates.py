"""How each station does: its verdicts of late, and what people's decisions say of the verdicts. Read only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.events import Verdict

RATE_SECONDS = 60.0

VERDICTS = text(
    """
    SELECT i.station, v.verdict, count(*) AS parts,
           count(*) FILTER (WHERE v.recorded_at > clock_timestamp() - make_interval(secs => :rate)) AS of_late
    FROM verdicts v JOIN inspections i ON i.id = v.inspection_id
    WHERE v.recorded_at > clock_timestamp() - :window GROUP BY i.station, v.verdict
    """
)
# A sampled part was passed as OK, unless it was NG; every other part that was judged and reviewed was not passed.
DECIDED = text(
    """
    SELECT r.station, r.reason = 'sampled' AND v.verdict <> 'NG' AS passed, l.decision, count(*) AS parts
    FROM reviews r JOIN labels l ON l.id = r.label_id JOIN verdicts v ON v.inspection_id = r.inspection_id
    WHERE l.decision IN ('normal', 'anomaly') AND r.reason <> 'manual' AND v.verdict <> 'ERROR'
        AND l.decided_at > clock_timestamp() - :window
    GROUP BY 1, 2, 3
    """
)


@dataclass
class StationCounts:
    """Of one station: verdicts, parts in the last minute; decided parts, and among them those decided against it.

    escapes: passed as OK and found anomalous, among the sampled; false_rejects: normal, among those not passed.
    """

    station: str
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    of_late: int = 0
    sampled: int = 0
    escapes: int = 0
    held_back: int = 0
    false_rejects: int = 0


def stations(session: Session, window: timedelta) -> list[StationCounts]:
    """Every station of which anything is on record, with its counts over the window that ends now."""
    found = {name: StationCounts(name) for name in session.scalars(text("SELECT name FROM stations ORDER BY name"))}
    for row in session.execute(VERDICTS, {"window": window, "rate": RATE_SECONDS}):
        found[row.station].verdicts[row.verdict] = row.parts
        found[row.station].of_late += row.of_late
    for row in session.execute(DECIDED, {"window": window}):
        count(found[row.station], row.passed, row.decision, row.parts)
    return list(found.values())


def count(station: StationCounts, passed: bool, decision: str, parts: int) -> None:
    if passed:
        station.sampled += parts
        station.escapes += parts if decision == "anomaly" else 0
    else:
        station.held_back += parts
        station.false_rejects += parts if decision == "normal" else 0
