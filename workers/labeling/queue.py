"""The labeling queue: people claim reviews, decide them, take a decision back. Postgres is its home.

Each method is one transaction. What was decided is told afterwards, or by the recorder's sweep if that fails.

A lease does not wait for the disk. Should Postgres crash and forget it, it has ended early: nobody but its holder could
decide under its token, for a decision is refused unless holder and token are those on record.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from storage import embeddings, labels, reviews
from storage.database import Database
from storage.errors import StreamUnavailable
from storage.images import ImageStore
from storage.label_models import Label, LabelSource
from storage.models import ReviewState
from storage.resolution import RegionFacts, Resolution
from storage.reviews import Claimant, Filter, Lease, Policy
from storage.stream import EventLog
from workers.labeling.check import check_resolution
from workers.labeling.outbox import tell_resolved

logger = logging.getLogger(__name__)

MOST_IN_GROUP = 50


@dataclass(frozen=True)
class Rules:
    """How the plant wants its queue."""

    lease: timedelta
    skip: timedelta
    ageing: timedelta
    policy: Policy
    second_opinion_share: float
    duplicate_distance: float


@dataclass(frozen=True)
class Resolved:
    """A decision on record; not final while another person is asked."""

    review_id: UUID
    label_id: UUID
    final: bool
    opinion: int


class Queue:
    """The reviews of a line. A person is known by name; what they may do is checked before."""

    def __init__(self, database: Database, log: EventLog, store: ImageStore, rules: Rules) -> None:
        self.database, self.log, self.store, self.rules = database, log, store, rules

    def claim(
        self,
        person: str,
        policy: Policy | None = None,
        only: Filter | None = None,
        lease: timedelta | None = None,
    ) -> Lease | None:
        """Lease the next review; None when there is none for this person. A lease may be shorter than the rule."""
        claimant = self.claimant(person, only, lease)
        with self.database.begin(durable=False) as session:
            return reviews.claim(session, claimant, policy or self.rules.policy)

    def claim_this(self, person: str, review_id: UUID) -> Lease:
        with self.database.begin(durable=False) as session:
            return reviews.claim_this(session, self.claimant(person), review_id)

    def claim_alike(self, person: str, lease: Lease, only: Filter | None = None) -> list[Lease]:
        """Lease the free reviews that show what this one shows: they can be decided together.

        So can those the person holds already, claimed ahead: they are prolonged and keep their token.
        """
        claimant = self.claimant(person, only)
        with self.database.begin(durable=False) as session:
            found = self.look_alike(session, claimant, lease.inspection_id, lease.station)
            had = (
                reviews.prolong(session, claimant, one) or reviews.claim_among(session, claimant, [one])
                for one in found
            )
            return [lease for lease in had if lease]

    def alike(self, session: Session, person: str, inspection_id: UUID, station: str) -> list[UUID]:
        """The reviews that claim_alike would lease, or prolong."""
        return self.look_alike(session, self.claimant(person), inspection_id, station)

    def look_alike(self, session: Session, claimant: Claimant, inspection_id: UUID, station: str) -> list[UUID]:
        distance = self.rules.duplicate_distance
        return embeddings.near_duplicates(
            session, inspection_id, station, distance, MOST_IN_GROUP, claimant.had, claimant.parameters
        )

    def heartbeat(self, person: str, review_id: UUID, token: int) -> Lease:
        """The lease runs anew from now; ReviewStale when it has ended."""
        with self.database.begin(durable=False) as session:
            return reviews.heartbeat(session, review_id, person, token, self.rules.lease)

    def release(self, person: str, review_id: UUID, token: int) -> None:
        """Give the review back undecided."""
        with self.database.begin(durable=False) as session:
            reviews.give_back(session, review_id, person, token)

    def skip(self, person: str, review_id: UUID, token: int) -> None:
        """Give the review back; it is offered again after a while."""
        with self.database.begin(durable=False) as session:
            reviews.give_back(session, review_id, person, token, self.rules.skip)

    def look_again(self, person: str, inspection_id: UUID) -> UUID:
        """Put a part before operators by hand, also one that was decided."""
        with self.database.begin() as session:
            return reviews.look_again(session, inspection_id, person)

    def resolve(self, person: str, review_id: UUID, token: int, resolution: Resolution) -> Resolved:
        """Decide a review under its lease; ReviewStale when that is no longer, or no longer alone, this person's."""
        (resolved,) = self.resolve_all(person, [(review_id, token, resolution)])
        return resolved

    def resolve_all(self, person: str, held: Sequence[tuple[UUID, int, Resolution]]) -> list[Resolved]:
        """What is said of each is recorded for all, or for none of them."""
        with self.database.begin() as session:
            # In one order, so that two groups that overlap cannot wait for each other.
            ordered = sorted(held, key=lambda one: one[:2])
            done = {id: self.decide(session, person, id, token, said) for id, token, said in ordered}
        ids = [id for id, _, _ in held]
        self.tell(ids)
        return [done[id] for id in ids]

    def decide(
        self,
        session: Session,
        person: str,
        review_id: UUID,
        token: int,
        resolution: Resolution,
        source: LabelSource = LabelSource.OPERATOR,
    ) -> Resolved:
        state = reviews.locked(session, review_id)
        if repeated := self.repeated(session, state, person, token, resolution):
            return repeated
        reviews.check_held(state, person, token)
        check_resolution(session, self.store, state["inspection_id"], resolution)
        before = labels.opinions(session, state)
        number = len(before) + 1
        final = number >= self.wanted(review_id, [*(one["decision"] for one in before), resolution.decision], source)
        supersedes = state["label_id"] if final else None
        label = labels.write(session, state, person, resolution, number, source, supersedes)
        labels.settle(session, state, label, final)
        return Resolved(review_id, label.id, final, number)

    def repeated(
        self, session: Session, state: RowMapping, person: str, token: int, resolution: Resolution
    ) -> Resolved | None:
        """The same decision asked for again, because its answer was lost: it is on record already."""
        label = labels.under_token(session, state["id"], token)
        if label is None or label.decided_by != person or not same(session, label, resolution):
            return None
        return Resolved(state["id"], label.id, state["label_id"] == label.id, label.opinion)

    def wanted(self, review_id: UUID, decisions: Sequence[str], source: LabelSource) -> int:
        """How many opinions it takes: two on a share of the reviews, a third one where those two differ."""
        if len(decisions) == 1:
            return 2 if source is LabelSource.OPERATOR and chosen(review_id, self.rules.second_opinion_share) else 1
        return 2 if decisions[0] == decisions[1] else 3

    def undo(self, person: str, review_id: UUID) -> Lease:
        """Take back one's own newest decision; the person holds the review again."""
        with self.database.begin() as session:
            state = reviews.locked(session, review_id)
            before = labels.opinions(session, state)
            if state["state"] == ReviewState.OPEN and state["held"]:
                raise reviews.stale(state, None, f"is being decided by {state['holder']}")
            if not before or before[-1]["decided_by"] != person:
                raise reviews.stale(state, None, f"has no decision of {person} that could be taken back")
            labels.withdraw(session, state, before[-1], person, self.rules.lease)
            return reviews.lease_of(reviews.state_of(session, review_id))

    def import_label(self, person: str, inspection_id: UUID, resolution: Resolution) -> Resolved:
        """A decision made elsewhere: it supersedes the label in force; ReviewStale while somebody decides the part."""
        with self.database.begin() as session:
            review_id = reviews.look_again(session, inspection_id, person)
            lease = reviews.claim_this(session, self.claimant(person), review_id)
            resolved = self.decide(session, person, review_id, lease.token, resolution, LabelSource.IMPORT)
        self.tell([review_id])
        return resolved

    def tell(self, review_ids: Sequence[UUID]) -> None:
        """When Redis is away, the recorder's sweep tells it later."""
        try:
            tell_resolved(self.database, self.log, review_ids)
        except StreamUnavailable as error:
            logger.warning("a decision is on record and will be told later: %s", error)

    def claimant(self, person: str, only: Filter | None = None, lease: timedelta | None = None) -> Claimant:
        length = min(lease or self.rules.lease, self.rules.lease)
        return Claimant(person, length, self.rules.ageing, only or Filter())


def chosen(review_id: UUID, share: float) -> bool:
    """By the random bits of the id: independent of the part, and the same whenever it is asked."""
    return (review_id.int & 0xFFFFFFFF) / 2**32 < share


def same(session: Session, label: Label, resolution: Resolution) -> bool:
    """Whether all that is said is what is on record: another region is another decision."""
    regions = [RegionFacts.model_validate(facts) for facts in labels.regions_of(session, [label.id]).get(label.id, [])]
    said = (label.decision, label.defects, label.note, regions)
    return said == (resolution.decision, resolution.defects, resolution.note, resolution.regions)
