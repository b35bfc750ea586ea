"""The queue's API: claim, prolong, give back, decide, take back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI

from orchestrator.person import Person, needs
from orchestrator.review_answers import (
    ACTS,
    BODY,
    REFUSED,
    Claimed,
    ClaimWish,
    Decided,
    DecidedGroup,
    Held,
    LookAgain,
    Opened,
    Wish,
)
from orchestrator.settings import Labeling
from storage import review_lists
from storage.reviews import Filter, Lease, Policy
from workers.labeling.queue import Queue, Resolved, Rules

Operator = Annotated[Person, Depends(needs("operator"))]
REVIEW = "/api/v1/reviews/{review_id}"
TAGS: list[Any] = ["queue"]


def rules(labeling: Labeling) -> Rules:
    """The plant's rules as the queue takes them."""
    return Rules(
        lease=timedelta(minutes=labeling.lease_minutes),
        skip=timedelta(minutes=labeling.skip_minutes),
        ageing=timedelta(minutes=labeling.ageing_minutes),
        policy=Policy(labeling.policy),
        second_opinion_share=labeling.second_opinion_share,
        duplicate_distance=labeling.duplicate_distance,
    )


def add_queue(app: FastAPI, queue: Callable[[], Queue]) -> None:
    add_claims(app, queue)
    add_decisions(app, queue)
    add_wish(app, queue)


def add_claims(app: FastAPI, queue: Callable[[], Queue]) -> None:
    @app.post("/api/v1/reviews/claim", tags=TAGS, responses=REFUSED | BODY)
    def claim(who: Operator, wish: ClaimWish) -> Claimed:
        """Lease the next review; with `alike`, those that look like it, too."""
        only, policy = wanted(queue(), who, wish)
        length = timedelta(seconds=wish.lease_seconds) if wish.lease_seconds else None
        lease = queue().claim(who.name, policy, only, length)
        if lease is None:
            return Claimed(reviews=[])
        return Claimed(reviews=[lease, *(queue().claim_alike(who.name, lease, only) if wish.alike else ())])

    @app.post(f"{REVIEW}/claim", tags=TAGS, responses=ACTS)
    def claim_this(who: Operator, review_id: UUID) -> Lease:
        """Lease this review, also one that was skipped."""
        return queue().claim_this(who.name, review_id)

    @app.post(f"{REVIEW}/alike", tags=TAGS, responses=ACTS)
    def claim_alike(who: Operator, review_id: UUID, held: Held) -> Claimed:
        """The reviews that look like this one, which the person holds: they can be decided together.

        Those that are free are leased; those the person holds already are prolonged and keep their token.
        """
        lease = queue().heartbeat(who.name, review_id, held.token)
        return Claimed(reviews=queue().claim_alike(who.name, lease))

    @app.post(f"{REVIEW}/heartbeat", tags=TAGS, responses=ACTS)
    def heartbeat(who: Operator, review_id: UUID, held: Held) -> Lease:
        """The lease runs anew from now."""
        return queue().heartbeat(who.name, review_id, held.token)

    @app.post(f"{REVIEW}/release", tags=TAGS, status_code=204, responses=ACTS)
    def release(who: Operator, review_id: UUID, held: Held) -> None:
        """Give the review back undecided."""
        queue().release(who.name, review_id, held.token)

    @app.post(f"{REVIEW}/skip", tags=TAGS, status_code=204, responses=ACTS)
    def skip(who: Operator, review_id: UUID, held: Held) -> None:
        """Give the review back; it is offered again after a while."""
        queue().skip(who.name, review_id, held.token)


def wanted(queue: Queue, who: Person, wish: ClaimWish) -> tuple[Filter, Policy | None]:
    """What the person says now, else what they want remembered."""
    told = wish.model_dump(exclude={"alike", "lease_seconds"}, exclude_unset=True)
    if told.keys() >= {"station", "product", "policy"}:
        return Filter(wish.station, wish.product), wish.policy
    with queue.database.begin() as session:
        known = review_lists.wish(session, who.name)
    facts = {"station": known.station, "product": known.product, "policy": known.policy} | told
    return Filter(facts["station"], facts["product"]), Policy(facts["policy"]) if facts["policy"] else None


def add_decisions(app: FastAPI, queue: Callable[[], Queue]) -> None:
    @app.post("/api/v1/reviews", tags=TAGS, status_code=201, responses=ACTS)
    def look_again(who: Operator, again: LookAgain) -> Opened:
        """Put a part before operators by hand, also one that was decided; its label holds until the next."""
        return Opened(review_id=queue().look_again(who.name, again.inspection_id))

    @app.post("/api/v1/reviews/resolve", tags=TAGS, responses=ACTS)
    def resolve_group(who: Operator, decided: DecidedGroup) -> list[Resolved]:
        """The same decision for each of the reviews, each with its own regions, or for none of them."""
        return queue().resolve_all(who.name, list(decided.each()))

    @app.post(f"{REVIEW}/resolve", tags=TAGS, responses=ACTS)
    def resolve(who: Operator, review_id: UUID, decided: Decided) -> Resolved:
        """Decide. Sent again because its answer was lost, it is the same decision."""
        return queue().resolve(who.name, review_id, decided.token, decided.resolution)

    @app.post(f"{REVIEW}/undo", tags=TAGS, responses=ACTS)
    def undo(who: Operator, review_id: UUID) -> Lease:
        """Take back one's own newest decision; it stays on record, and the person holds the review again."""
        return queue().undo(who.name, review_id)


def add_wish(app: FastAPI, queue: Callable[[], Queue]) -> None:
    @app.get("/api/v1/queue/filter", tags=TAGS, responses=REFUSED)
    def remembered(who: Operator) -> Wish:
        """What the person wants to be asked."""
        with queue().database.begin() as session:
            return Wish.model_validate(review_lists.wish(session, who.name), from_attributes=True)

    @app.put("/api/v1/queue/filter", tags=TAGS, responses=REFUSED | BODY)
    def remember(who: Operator, wish: Wish) -> Wish:
        """From now on a claim that does not say otherwise is filtered and ordered like this."""
        with queue().database.begin() as session:
            review_lists.remember(session, who.name, wish.station, wish.product, wish.policy)
        return wish
