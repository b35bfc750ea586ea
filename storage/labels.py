"""What people decided: written once, superseded, never changed. Functions take a session and never commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from storage.events import new_id
from storage.label_models import Decision, Label, LabelSource, Region
from storage.resolution import RegionFacts, Resolution

# A withdrawn decision is one that a row with the decision `withdrawn` supersedes.
STANDING = """
    {label}.decision <> 'withdrawn'
    AND NOT EXISTS (SELECT FROM labels w WHERE w.supersedes = {label}.id AND w.decision = 'withdrawn')
"""
OPINIONS = text(
    f"SELECT l.* FROM labels l WHERE l.review_id = :review_id AND l.round = :round AND {STANDING.format(label='l')} "
    "ORDER BY l.opinion, l.id"
)
SETTLE = text(
    """
    UPDATE reviews SET state = CASE WHEN :final THEN 'resolved' ELSE 'open' END, holder = NULL, claimed_at = NULL,
        free_at = clock_timestamp(), token = token + 1, answered_by = answered_by || CAST(:person AS varchar),
        label_id = CASE WHEN :final THEN :label_id ELSE label_id END, untold = :final
    WHERE id = :id
    """
)
UNSETTLE = text(
    """
    UPDATE reviews SET state = 'open', holder = :person, claimed_at = clock_timestamp(),
        free_at = clock_timestamp() + :lease, token = token + 2, answered_by = array_remove(answered_by, :person),
        label_id = CASE WHEN label_id = :undone THEN CAST(:before AS uuid) ELSE label_id END, untold = false
    WHERE id = :id
    """
)
UNTOLD = """
    SELECT r.id AS review_id, r.inspection_id, r.station, l.id AS label_id, l.decision, l.decided_by, l.decided_at
    FROM reviews r JOIN labels l ON l.id = r.label_id WHERE r.untold AND {which} ORDER BY r.id LIMIT 100
"""
UNTOLD_OF = text(UNTOLD.format(which="r.id = ANY (CAST(:ids AS uuid[]))"))
MISSED = text(UNTOLD.format(which="l.decided_at < now() - interval '5 seconds'"))
TOLD = text("UPDATE reviews SET untold = false WHERE id = :review_id AND label_id = :label_id")
AGREEMENT = text(
    f"""
    SELECT a.decided_by AS first, b.decided_by AS second, a.decision AS first_decision, b.decision AS second_decision,
           count(*) AS parts
    FROM labels b JOIN labels a ON a.review_id = b.review_id AND a.round = b.round AND a.opinion = 1
    WHERE b.opinion = 2 AND {STANDING.format(label="a")} AND {STANDING.format(label="b")}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """
)


def opinions(session: Session, state: RowMapping) -> Sequence[RowMapping]:
    """The decisions that stand in the review's round, the first one first."""
    return session.execute(OPINIONS, {"review_id": state["id"], "round": state["round"]}).mappings().all()


def under_token(session: Session, review_id: UUID, token: int) -> Label | None:
    """What was decided under this lease."""
    return session.scalar(select(Label).where(Label.review_id == review_id, Label.token == token))


def write(
    session: Session,
    state: RowMapping,
    person: str,
    resolution: Resolution,
    opinion: int,
    source: LabelSource = LabelSource.OPERATOR,
    supersedes: UUID | None = None,
) -> Label:
    """Put a decision on record under the lease that the review's state shows."""
    label = Label(
        id=new_id(),
        review_id=state["id"],
        inspection_id=state["inspection_id"],
        round=state["round"],
        opinion=opinion,
        decision=resolution.decision,
        defects=list(resolution.defects),
        note=resolution.note,
        source=source,
        decided_by=person,
        decided_at=state["now"],
        took_milliseconds=took(resolution, state["claimed_at"], state["now"]),
        token=state["token"],
        lease_until=state["free_at"],
        supersedes=supersedes,
    )
    session.add(label)
    session.flush()
    session.add_all(region_row(label, number, facts) for number, facts in enumerate(resolution.regions, start=1))
    session.flush()
    return label


def took(resolution: Resolution, claimed_at: datetime, now: datetime) -> int:
    if resolution.took_milliseconds is not None:
        return resolution.took_milliseconds
    return round(1000 * (now - claimed_at).total_seconds())


def region_row(label: Label, number: int, facts: RegionFacts) -> Region:
    return Region(
        label_id=label.id,
        number=number,
        inspection_id=label.inspection_id,
        camera=facts.camera,
        kind=facts.kind,
        defect=facts.defect,
        points=[list(point) for point in facts.points] if facts.points is not None else None,
        mask_sha256=facts.mask_sha256,
    )


def settle(session: Session, state: RowMapping, label: Label, final: bool) -> None:
    """The review is decided by this label, or goes on to the next person."""
    facts = {"id": state["id"], "person": label.decided_by, "final": final, "label_id": label.id}
    session.execute(SETTLE, facts)


def withdraw(session: Session, state: RowMapping, undone: RowMapping, person: str, lease: Any) -> None:
    """Take a decision back: it stays on record beneath a row that says so, and the person holds the review again."""
    session.add(
        Label(
            id=new_id(),
            review_id=state["id"],
            inspection_id=state["inspection_id"],
            round=state["round"],
            opinion=undone["opinion"],
            decision=Decision.WITHDRAWN,
            defects=[],
            note="",
            source=LabelSource.OPERATOR,
            decided_by=person,
            decided_at=state["now"],
            token=state["token"] + 1,
            lease_until=state["now"],
            supersedes=undone["id"],
        )
    )
    session.flush()
    facts = {
        "id": state["id"],
        "person": person,
        "lease": lease,
        "undone": undone["id"],
        "before": undone["supersedes"],
    }
    session.execute(UNSETTLE, facts)


def history(session: Session, review_id: UUID) -> list[dict[str, Any]]:
    """Every decision about a part, undone ones included, each with its regions; the oldest first."""
    found = session.scalars(select(Label).where(Label.review_id == review_id).order_by(Label.id)).all()
    regions = regions_of(session, [label.id for label in found])
    return [shown(label) | {"regions": regions.get(label.id, [])} for label in found]


def of(session: Session, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Labels by their ids, each with its regions."""
    found = session.scalars(select(Label).where(Label.id.in_(ids))).all()
    regions = regions_of(session, [label.id for label in found])
    return {label.id: shown(label) | {"regions": regions.get(label.id, [])} for label in found}


def regions_of(session: Session, label_ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    rows = session.scalars(select(Region).where(Region.label_id.in_(label_ids)).order_by(Region.number)).all()
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        facts = {name: getattr(row, name) for name in RegionFacts.model_fields}
        found.setdefault(row.label_id, []).append(facts)
    return found


def shown(label: Label) -> dict[str, Any]:
    return {column.name: getattr(label, column.name) for column in Label.__table__.columns}


def untold_of(session: Session, review_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Those of these reviews that are resolved and that nobody was told of yet."""
    return [dict(row) for row in session.execute(UNTOLD_OF, {"ids": list(map(str, review_ids))}).mappings()]


def untold(session: Session) -> list[dict[str, Any]]:
    """Resolved reviews whose telling was missed: whoever decided them would have told by now."""
    return [dict(row) for row in session.execute(MISSED).mappings()]


def told(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """These were told; what was undone and decided anew meanwhile was not."""
    if rows:
        session.execute(TOLD, [{"review_id": row["review_id"], "label_id": row["label_id"]} for row in rows])


def opinion_pairs(session: Session) -> list[dict[str, Any]]:
    """How often who said what of the same part, the first opinion beside the blind second."""
    return [dict(row) for row in session.execute(AGREEMENT).mappings()]
