"""What the queue's API takes and answers, as OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.answer import PROBLEM_TYPE, Problem, answered_with
from storage.events import ReviewReason, Verdict
from storage.label_models import Decision, LabelSource, Severity
from storage.models import ReviewState
from storage.resolution import Name, RegionFacts, Resolution
from storage.reviews import Lease, Policy

Token = Annotated[int, Field(ge=0, lt=2**63, description="The number that came with the claim.")]


class Sent(BaseModel):
    """A body: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid")


class Wish(Sent):
    """What a person wants to be asked."""

    station: Name | None = None
    product: Name | None = None
    policy: Policy | None = Field(default=None, description="Not set: as the plant has it.")


class ClaimWish(Wish):
    """What to claim; what is not said is taken from what the person wants remembered."""

    alike: bool = Field(default=False, description="Claim the near-duplicates of the part with it, as one group.")
    lease_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="A shorter lease than labeling.lease_minutes."
    )


class Claimed(BaseModel):
    """Leases; none when nothing waits for this person. The first is the part itself, the others look like it."""

    reviews: list[Lease]


class Held(Sent):
    """A lease, as the claim told it."""

    token: Token


class HeldReview(Held):
    """One of several leases."""

    review_id: UUID


class Decided(Held):
    """A decision under a lease."""

    resolution: Resolution


class DecidedGroup(Sent):
    """The same decision under several leases: recorded for all of them or for none."""

    held: Annotated[list[HeldReview], Field(min_length=1, max_length=100)]
    resolution: Resolution


class LookAgain(Sent):
    """Which part to look at again."""

    inspection_id: UUID


class Opened(BaseModel):
    """The review that is open now."""

    review_id: UUID


class CurrentReview(BaseModel):
    """The state a review is in now."""

    token: int
    state: ReviewState
    holder: str | None
    lease_until: datetime | None
    label_id: UUID | None


class Conflict(Problem):
    """Both versions: the token that was sent, and what the review is now."""

    given: int | None
    current: CurrentReview


class Viewed(BaseModel):
    """A frame and what the model said of it."""

    camera: str
    sha256: str
    media_type: str
    width: int
    height: int
    anomaly_score: float | None
    ok_threshold: float | None
    ng_threshold: float | None
    model_version: str | None
    map_sha256: str | None


class LabelShown(BaseModel):
    """A decision on record."""

    id: UUID
    round: int
    opinion: int
    decision: Decision
    defects: list[str]
    regions: list[RegionFacts]
    note: str
    source: LabelSource
    decided_by: str
    decided_at: datetime
    took_milliseconds: int | None
    token: int
    supersedes: UUID | None


class ReviewListed(BaseModel):
    """A review in a list."""

    review_id: UUID
    inspection_id: UUID
    state: ReviewState
    reason: ReviewReason
    station: str
    product: str | None
    opened_at: datetime
    opened_by: str | None
    round: int
    token: int
    margin: float
    part_id: str | None
    lot: str | None
    triggered_at: datetime
    holder: str | None
    lease_until: datetime | None
    verdict: Verdict | None
    verdict_reason: str | None
    anomaly_score: float | None
    label_id: UUID | None


class ReviewShown(ReviewListed):
    """A review with all there is to see."""

    views: list[Viewed]
    labels: list[LabelShown]


class SimilarPart(BaseModel):
    """A decided part that looks alike; the distance is the cosine distance of embeddings."""

    distance: float
    label: LabelShown
    views: list[Viewed]


class QueueCounts(BaseModel):
    """How many reviews wait, and for what."""

    open: int
    leased: int
    second_opinions: int = Field(description="Wait for the opinion of another person.")
    overdue: int = Field(description="Open for longer than labeling.ageing_minutes.")
    oldest_seconds: float


class QueueState(QueueCounts):
    """How the queue stands."""

    ageing_minutes: float
    policy: Policy


class Choice(BaseModel):
    """A station and product of which reviews are open."""

    station: str
    product: str | None
    open: int


class DefectShown(BaseModel):
    """An entry of the defect book as it holds now."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: int
    definition: str
    severity: Severity
    examples: list[str]
    retired: bool
    written_by: str
    written_at: datetime


class MaskStored(BaseModel):
    """What a region names a mask by."""

    sha256: str
    width: int
    height: int


def conflict() -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes that a review has moved on."""
    schema = {"$ref": "#/components/schemas/Conflict"}
    said = "The review has moved on; both versions are told."
    return {409: {"model": Conflict, "description": said, "content": {PROBLEM_TYPE: {"schema": schema}}}}


REFUSED = {
    **answered_with(401, "Nobody has signed in."),
    **answered_with(403, "The role does not allow it, or a page of another site sent it."),
    **answered_with(421, "This server has another name."),
    **answered_with(422, "What was sent is not as described, or does not fit the part."),
    **answered_with(503, "A service does not answer; nothing was lost, ask again."),
}
MISSING = {**REFUSED, **answered_with(404, "There is none.")}
BODY = {**answered_with(400, "The body cannot be read."), **answered_with(413, "The body is too long.")}
ACTS = {**MISSING, **BODY, **conflict()}
