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
# A sampled part was passed as OK, unless it was NG. What came in from elsewhere was chosen there, and is not counted.
REVIEWED = text(
    """
    SELECT r.station, CASE WHEN r.reason = 'uncertain' THEN 'held_back' WHEN v.verdict = 'NG' THEN 'rejected'
               ELSE 'passed' END AS what,
           count(*) AS parts, count(*) FILTER (WHERE l.decision = 'normal') AS normal,
           count(*) FILTER (WHERE l.decision = 'anomaly') AS anomalous
    FROM verdicts v JOIN reviews r ON r.inspection_id = v.inspection_id
        LEFT JOIN labels l ON l.id = r.label_id AND l.source = 'operator'
    WHERE v.recorded_at > clock_timestamp() - :window AND r.reason <> 'manual' AND v.verdict <> 'ERROR'
    GROUP BY 1, 2
    """
)


@dataclass
class Reviewed:
    """Parts of one kind that were put before people, and those that people could tell."""

    parts: int = 0
    normal: int = 0
    anomalous: int = 0

    @property
    def decided(self) -> int:
        return self.normal + self.anomalous


@dataclass
class StationCounts:
    """Of one station: verdicts, parts in the last minute, and what people said of parts recorded in the window.

    passed, rejected: the random samples of the OK parts (whose verdict is REVIEW by that) and of the NG parts.
    held_back: the parts between the thresholds, of which no random ones are decided first.
    """

    station: str
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    of_late: int = 0
    passed: Reviewed = field(default_factory=Reviewed)
    rejected: Reviewed = field(default_factory=Reviewed)
    held_back: Reviewed = field(default_factory=Reviewed)

    @property
    def all_passed(self) -> int:
        """Parts below the OK threshold, sampled or not."""
        return self.verdicts[Verdict.OK] + self.passed.parts


def stations(session: Session, window: timedelta) -> list[StationCounts]:
    """Every station of which anything is on record, with its counts over the window that ends now."""
    found = {name: StationCounts(name) for name in session.scalars(text("SELECT name FROM stations ORDER BY name"))}
    for row in session.execute(VERDICTS, {"window": window, "rate": RATE_SECONDS}):
        found[row.station].verdicts[row.verdict] = row.parts
        found[row.station].of_late += row.of_late
    for row in session.execute(REVIEWED, {"window": window}):
        setattr(found[row.station], row.what, Reviewed(row.parts, row.normal, row.anomalous))
    return list(found.values())
