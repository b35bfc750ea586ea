"""The labeling queue in SQL: opened, claimed, given back. Functions take a session and never commit.

A lease that ran out needs nobody to end it: claims look at free_at. Every change raises the token, so that whoever
acts on an older state is refused.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from storage import embeddings
from storage.errors import ReviewMissing, ReviewStale
from storage.events import new_id
from storage.models import ReviewState


class Policy(StrEnum):
    """Which review comes next."""

    OLDEST = "oldest"
    UNCERTAIN = "uncertain"
    DIVERSE = "diverse"


@dataclass(frozen=True)
class Filter:
    """Which reviews a person wants to be asked about; None is all."""

    station: str | None = None
    product: str | None = None

    @property
    def condition(self) -> str:
        return "".join(f" AND r.{name} = :{name}" for name, value in asdict(self).items() if value is not None)


@dataclass(frozen=True)
class Lease:
    """A person's exclusive right to decide a review, until lease_until by the database's clock."""

    review_id: UUID
    inspection_id: UUID
    station: str
    product: str | None
    reason: str
    round: int
    token: int
    lease_until: datetime


FREE = "r.state = 'open' AND r.free_at <= clock_timestamp() AND NOT :person = ANY (r.answered_by)"
LEASED = (
    "r.id AS review_id, r.inspection_id, r.station, r.product, r.reason, r.round, r.token, r.free_at AS lease_until"
)
CLAIM = (
    """
    WITH next AS (SELECT r.id FROM reviews r WHERE {which} LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE reviews r SET holder = :person, claimed_at = clock_timestamp(), free_at = clock_timestamp() + :lease,
        token = r.token + 1
    FROM next WHERE r.id = next.id RETURNING """
    + LEASED
)
ORDERS = {Policy.OLDEST: "ORDER BY r.opened_at", Policy.UNCERTAIN: "ORDER BY r.margin"}
# now() and not clock_timestamp(): only what does not change within a statement can bound an index scan.
OVERDUE = "AND r.opened_at <= now() - :ageing ORDER BY r.opened_at"
SAMPLED = "AND r.reason = 'sampled' ORDER BY r.opened_at"
SAMPLED_SHARE = 0.25  # of the claims in the diverse order: chosen by their looks, decided ones would be no random draw
AMONG = "AND r.id = ANY (CAST(:ids AS uuid[])) ORDER BY array_position(CAST(:ids AS uuid[]), r.id)"
MINE = "r.id = :id AND r.state = 'open' AND r.holder = :person AND r.token = :token AND r.free_at > clock_timestamp()"
EXTEND = f"UPDATE reviews r SET free_at = clock_timestamp() + :lease WHERE {MINE} RETURNING {LEASED}"
GIVE_BACK = f"""
    UPDATE reviews r SET holder = NULL, claimed_at = NULL, free_at = clock_timestamp() + :away, token = r.token + 1
    WHERE {MINE} RETURNING r.id
"""
STATE = """
    SELECT r.*, r.holder IS NOT NULL AND r.free_at > clock_timestamp() AS held, clock_timestamp() AS now
    FROM reviews r WHERE r.id = :id
"""


@dataclass(frozen=True)
class Claimant:
    """Who asks, and how long the lease will be; what has waited longer than `ageing` comes first in any order."""

    person: str
    lease: timedelta
    ageing: timedelta
    only: Filter = Filter()

    @property
    def free(self) -> str:
        return FREE + self.only.condition

    @property
    def parameters(self) -> dict[str, Any]:
        return {"person": self.person, "lease": self.lease, "ageing": self.ageing, **asdict(self.only)}


def claim(session: Session, claimant: Claimant, policy: Policy) -> Lease | None:
    """Lease the next review to the person; None when there is none for them."""
    if policy is Policy.OLDEST:
        return claim_where(session, claimant, ORDERS[policy])
    if overdue := claim_where(session, claimant, OVERDUE):
        return overdue
    if policy is Policy.UNCERTAIN:
        return claim_where(session, claimant, ORDERS[policy])
    if random.random() < SAMPLED_SHARE and (sampled := claim_where(session, claimant, SAMPLED)):
        return sampled
    ids = embeddings.diverse(session, f"{claimant.free} AND r.reason <> 'sampled'", claimant.parameters)
    # Others may have taken them all since, or no open review has an embedding.
    return claim_among(session, claimant, ids) or claim_where(session, claimant, ORDERS[Policy.OLDEST])


def claim_among(session: Session, claimant: Claimant, ids: list[UUID]) -> Lease | None:
    """The first of these that is free."""
    return claim_where(session, claimant, AMONG, ids=list(map(str, ids))) if ids else None


def claim_this(session: Session, claimant: Claimant, review_id: UUID) -> Lease:
    """Lease this review, even one that was skipped; ReviewStale when it is decided or somebody else's."""
    state = locked(session, review_id)
    if state["state"] != ReviewState.OPEN:
        raise stale(state, None, "is already decided")
    if state["held"] and state["holder"] != claimant.person:
        raise stale(state, None, f"is being decided by {state['holder']}")
    if claimant.person in state["answered_by"]:
        raise stale(state, None, f"waits for the opinion of somebody else than {claimant.person}")
    row = session.execute(text(CLAIM.format(which="r.id = :id")), {**claimant.parameters, "id": review_id})
    return Lease(**row.mappings().one())


def claim_where(session: Session, claimant: Claimant, order: str, **facts: Any) -> Lease | None:
    query = text(CLAIM.format(which=f"{claimant.free} {order}"))
    row = session.execute(query, claimant.parameters | facts).mappings().one_or_none()
    return Lease(**row) if row else None


def heartbeat(session: Session, review_id: UUID, person: str, token: int, lease: timedelta) -> Lease:
    """Prolong a lease that still runs; ReviewStale when it does not."""
    facts = {"id": review_id, "person": person, "token": token, "lease": lease}
    row = session.execute(text(EXTEND), facts).mappings().one_or_none()
    if row is None:
        raise refused(session, review_id, person, token)
    return Lease(**row)


def give_back(session: Session, review_id: UUID, person: str, token: int, away: timedelta = timedelta(0)) -> None:
    """End a lease; the review is offered again after a while."""
    facts = {"id": review_id, "person": person, "token": token, "away": away}
    if session.scalar(text(GIVE_BACK), facts) is None:
        raise refused(session, review_id, person, token)


def locked(session: Session, review_id: UUID) -> RowMapping:
    """The review, held against everybody else until the transaction ends; ReviewMissing when there is none."""
    # Its state is read after the lock is had: read with it, the clock would be that of before the wait.
    session.execute(text("SELECT FROM reviews WHERE id = :id FOR UPDATE"), {"id": review_id})
    return state_of(session, review_id)


def state_of(session: Session, review_id: UUID) -> RowMapping:
    found = session.execute(text(STATE), {"id": review_id}).mappings().one_or_none()
    if found is None:
        raise ReviewMissing(f"there is no review {review_id}")
    return found


def lease_of(state: RowMapping) -> Lease:
    """The lease that the review's state shows."""
    names = ("inspection_id", "station", "product", "reason", "round", "token")
    return Lease(review_id=state["id"], lease_until=state["free_at"], **{name: state[name] for name in names})


def check_held(state: RowMapping, person: str, token: int) -> None:
    """ReviewStale unless this person holds the review under this token now."""
    if state["state"] != ReviewState.OPEN or not state["held"] or (state["holder"], state["token"]) != (person, token):
        raise stale(state, token, why_refused(state, person, token))


def refused(session: Session, review_id: UUID, person: str, token: int) -> ReviewStale:
    state = state_of(session, review_id)
    return stale(state, token, why_refused(state, person, token))


def why_refused(state: RowMapping, person: str, token: int) -> str:
    if state["state"] != ReviewState.OPEN:
        return "is already decided"
    if state["held"] and state["holder"] != person:
        return f"is being decided by {state['holder']}"
    if state["token"] != token:
        return f"token {token} is old; the review has moved on"
    return f"the lease ended at {state['free_at'].isoformat(timespec='milliseconds')}"


def stale(state: RowMapping, given: int | None, why: str) -> ReviewStale:
    current = {
        "token": state["token"],
        "state": state["state"],
        "holder": state["holder"] if state["held"] else None,
        "lease_until": state["free_at"] if state["held"] else None,
        "label_id": state["label_id"],
    }
    return ReviewStale(state["id"], given, current, why)


# Opening


OPEN_BY_HAND = text(
    """
    INSERT INTO reviews (id, inspection_id, reason, state, opened_by, station, product, margin)
    SELECT :id, i.id, 'manual', 'open', :person, i.station, i.product, coalesce(
        (SELECT abs(p.anomaly_score - p.ng_threshold) FROM predictions p
         JOIN verdicts v ON v.inspection_id = p.inspection_id AND v.model_version = p.model_version
         WHERE p.inspection_id = i.id ORDER BY p.anomaly_score DESC LIMIT 1), 1)
    FROM inspections i WHERE i.id = :inspection_id
    ON CONFLICT (inspection_id) DO NOTHING
    """
)
REOPEN = text(
    """
    UPDATE reviews SET state = 'open', round = round + 1, opened_at = clock_timestamp(), opened_by = :person,
        holder = NULL, claimed_at = NULL, free_at = clock_timestamp(), token = token + 1, answered_by = '{}',
        untold = false
    WHERE inspection_id = :inspection_id AND state = 'resolved'
    """
)


def look_again(session: Session, inspection_id: UUID, person: str) -> UUID:
    """Put a part before operators, also one that was decided; one that is open stays as it is."""
    facts = {"id": new_id(), "inspection_id": inspection_id, "person": person}
    session.execute(OPEN_BY_HAND, facts)
    session.execute(REOPEN, facts)
    found: UUID | None = session.scalar(
        text("SELECT id FROM reviews WHERE inspection_id = :inspection_id"), {"inspection_id": inspection_id}
    )
    if found is None:
        raise ReviewMissing(f"there is no inspection {inspection_id}")
    return found
