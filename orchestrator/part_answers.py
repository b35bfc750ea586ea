"""What the API answers of parts and of the line, as OpenAPI describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.health import DiskHealth
from orchestrator.monitor import ServiceState
from orchestrator.review_answers import QueueCounts, ReviewShown
from orchestrator.supervisor import WorkerHealth
from storage.events import InspectionCompleted, ReviewReason, TriggerSource, Verdict
from storage.label_models import Decision
from storage.models import ReviewState


class PartListed(BaseModel):
    """An inspection in a list; without a verdict while there is none."""

    inspection_id: UUID
    station: str
    part_id: str | None
    product: str | None
    lot: str | None
    trigger_number: int
    triggered_at: datetime
    verdict: Verdict | None
    reason: str | None
    anomaly_score: float | None
    model_version: str | None
    recorded_at: datetime | None


class PartView(PartListed):
    """One view of one inspection: a row of v_part_history, whose columns the database explains.

    What is of a frame, a score, a verdict or a label is not set where there is none.
    """

    line: str
    code_version: str
    trigger_source: TriggerSource
    recipe: str
    recipe_version: int
    recipe_sha256: str
    camera: str | None
    captured_at: datetime | None
    sha256: str | None
    md5: str | None
    media_type: str | None
    width: int | None
    height: int | None
    source: str | None
    model_sha256: str | None
    raw_score: float | None
    ok_threshold: float | None
    ng_threshold: float | None
    map_sha256: str | None
    decided_at: datetime | None
    stage_milliseconds: dict[str, float] | None
    review_reason: ReviewReason | None
    review_state: ReviewState | None
    label: Decision | None
    label_defects: list[str] | None
    label_note: str | None
    labeled_by: str | None
    labeled_at: datetime | None
    percentile_of_good: float | None
    probabilities: dict[str, Any] | None


class PartLife(BaseModel):
    """One inspection of a part: what was seen, and its review with every decision, if a person was asked."""

    model_config = ConfigDict(from_attributes=True)

    inspection_id: UUID = Field(validation_alias="id")
    views: list[PartView]
    review: ReviewShown | None


class Latency(BaseModel):
    """From the trigger to the verdict, in milliseconds; not set before there was a part."""

    p50: float | None
    p99: float | None


class Check(BaseModel):
    """Whether something is as it should be, and how it is."""

    ok: bool
    detail: str


class LineStatus(BaseModel):
    """The line as it runs: `facts` of a worker are its own."""

    line: str
    state: str = Field(description="starting, running, held or degraded.")
    pid: int
    run_id: str
    code_version: str
    uptime_seconds: float
    parts: int
    verdicts: dict[Verdict, int]
    parts_per_minute: float
    latency_ms: Latency
    last: InspectionCompleted | None
    workers: Sequence[WorkerHealth]
    services: Sequence[ServiceState]
    disk: DiskHealth
    stations: Mapping[str, Check] = Field(description="Each camera, and the triggers that the line makes itself.")
    dead_letters: int | None = Field(description="Events that were set aside; not set while Redis does not answer.")
    queue: QueueCounts | None = Field(description="Not set while the database does not answer.")
