"""What the registry's API takes and answers, as OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from orchestrator.review_answers import Sent
from storage.deployments import Alias
from storage.resolution import Name

Reason = Annotated[str, Field(min_length=1, max_length=2000, description="Why; it stays on record.")]


class Deploy(Sent):
    """What a version is to be."""

    reason: Reason
    alias: Alias = Alias.CHAMPION
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Of the parts, how many a canary judges or a challenger watches."
    )


class RollBack(Sent):
    """Back to a former champion."""

    recipe: Name
    reason: Reason
    to: Name | None = Field(default=None, description="Which one; else the version before.")


class Withdraw(Sent):
    """From whom an alias is taken."""

    recipe: Name
    alias: Alias
    reason: Reason


class Answer(Sent):
    """What the second person says."""

    approved: bool
    reason: Annotated[str, Field(max_length=2000)] = ""


class Outcome(BaseModel):
    """What came of it: deployed, waiting for a second person, or refused by that person."""

    state: str
    recipe: str | None = None
    alias: str | None = None
    model_version: str | None = None
    share: float | None = None
    request_id: int | None = None
    deployment_id: int | None = None
    deployed_at: datetime | None = None
    deployed_by: str | None = None
    approved_by: str | None = None
    reason: str | None = None


class VersionListed(BaseModel):
    """A model version."""

    id: str
    recipe: str
    detector: str
    created_at: datetime
    parent: str | None
    snapshot: str | None
    training_run: UUID | None
    code_version: str
    sha256: str
    ok_threshold: float
    ng_threshold: float
    has_judged: bool
    was_deployed: bool
    is_requested: bool = Field(description="Whether its deployment waits for a second person.")
    aliases: list[str]
    gate: str | None = Field(description="What the gate said of it.")
    promise: str | None = Field(description="What its calibration promises.")
    report: str | None = Field(description="The gate's page: /api/v1/training/{training_run}/report.")


class DeploymentListed(BaseModel):
    """Who held which alias from when to when."""

    deployment_id: int
    recipe: str
    alias: str
    model_version: str
    share: float
    deployed_at: datetime
    replaced_at: datetime | None
    deployed_by: str
    approved_by: str | None
    reason: str
    first_swapped_at: datetime | None
    last_swapped_at: datetime | None = Field(description="When the last inference worker scored by it.")


class VersionShown(VersionListed):
    """A model version with all that is on record of it."""

    configuration: dict[str, Any]
    metrics: dict[str, Any]
    files: str = Field(description="intact, or what is wrong with its files.")
    parts: list[dict[str, Any]]
    deployments: list[DeploymentListed]
    shadow: list[dict[str, Any]]


class RequestListed(BaseModel):
    """A deployment that waits for a second person, or did."""

    request_id: int
    recipe: str
    alias: str
    model_version: str
    share: float
    requested_at: datetime
    requested_by: str
    reason: str
    state: str
    answered_at: datetime | None
    answered_by: str | None
    answer_reason: str | None


class SwapListed(BaseModel):
    """A worker that scores by a deployment."""

    deployment_id: int
    recipe: str
    alias: str
    model_version: str
    share: float
    worker: str
    deployed_at: datetime
    swapped_at: datetime
    replaced_at: datetime | None
    load_milliseconds: float


class ShadowShown(BaseModel):
    """How a challenger differs from who judged meanwhile."""

    recipe: str
    challenger: str
    watches: bool
    deployed_at: datetime
    beside: list[dict[str, Any]]
    not_scored: int
    changed: list[dict[str, Any]]
