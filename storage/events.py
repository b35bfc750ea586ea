"""What travels through the streams: ids and facts, never pixels. Docstrings name who sends and who acts."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from storage.errors import EventUnreadable


def storable(value: object) -> object:
    """Text as Postgres and UTF-8 can hold it: a file name with a stray byte in it loses no part."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()


Text = Annotated[str, BeforeValidator(storable)]


class Verdict(StrEnum):
    """The system's decision about a part; ERROR means it could not be inspected and is never OK."""

    OK = "OK"
    NG = "NG"
    REVIEW = "REVIEW"
    ERROR = "ERROR"


class TriggerSource(StrEnum):
    """Where the signal came from that a part is in place."""

    INTERVAL = "interval"
    SOFTWARE = "software"
    FILE = "file"


class ReviewReason(StrEnum):
    """Why a part was put before an operator."""

    UNCERTAIN = "uncertain"
    SAMPLED = "sampled"
    MANUAL = "manual"


class Fact(BaseModel):
    """A frozen record inside an event."""

    # JSON has no word for NaN: it would be told as null, and nobody could read the event.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )


class Event(Fact):
    """Something that happened; `stream` is where it is told."""

    stream: ClassVar[str]


class Trigger(Fact):
    """The signal that a part is in place; the inspection_id made here is the idempotency key of everything after it."""

    inspection_id: UUID
    station: str
    run_id: UUID
    trigger_number: int
    source: TriggerSource
    triggered_at: AwareDatetime
    part_id: Text | None = None
    product: Text | None = None
    lot: Text | None = None
    path: Text | None = None  # the file that arrived, for file triggers


class FrameFacts(Fact):
    """One stored image of an inspection; the SHA-256 is of the stored bytes."""

    camera: str
    sha256: str
    md5: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    channels: int
    bit_depth: int
    frame_number: int
    hardware_timestamp_ns: int | None = None
    exposure_microseconds: float | None = None
    captured_at: AwareDatetime
    source: Text | None = None


class PredictionFacts(Fact):
    """What one model version said of one frame, with the thresholds it was judged by."""

    camera: str
    sha256: str
    model_version: str
    anomaly_score: float
    raw_score: float
    ok_threshold: float
    ng_threshold: float
    probabilities: dict[str, float] = {}
    map_sha256: str | None = None
    embedding: bytes | None = None  # float32, little endian; of what a person may look at, for the order of the queue
    deployment_id: int | None = None  # by which the version scored it
    worker: Text | None = None  # inference worker, as in model_swaps
    projections: tuple[float, ...] | None = None  # of the embedding, along directions of the model version


class PartTriggered(Event):
    """Sent by a trigger (interval, API, file arrival); the station's capture worker acts on it."""

    stream: ClassVar[str] = "part.triggered"
    trigger: Trigger


class FrameCaptured(Event):
    """Sent by capture when every view of the part is on disk; inference scores it, the recorder writes it down."""

    stream: ClassVar[str] = "frame.captured"
    trigger: Trigger
    recipe: str
    recipe_id: int
    frames: tuple[FrameFacts, ...]
    told_at: AwareDatetime
    stage_milliseconds: dict[str, float] = {}


class InspectionDecided(Event):
    """Sent by whoever knows the verdict (inference; capture and the dead-letter office for ERROR); recorder acts."""

    stream: ClassVar[str] = "inspection.decided"
    trigger: Trigger
    recipe: str
    recipe_id: int
    frames: tuple[FrameFacts, ...] = ()
    predictions: tuple[PredictionFacts, ...] = ()
    verdict: Verdict
    reason: Text
    review_reason: ReviewReason | None = None
    decided_at: AwareDatetime
    stage_milliseconds: dict[str, float] = {}

    @classmethod
    def error(
        cls, event: FrameCaptured | InspectionDecided, reason: str, *, evidence: bool = True
    ) -> InspectionDecided:
        """What could not be inspected, with its frames unless they are what cannot be recorded."""
        return cls(
            trigger=event.trigger,
            recipe=event.recipe,
            recipe_id=event.recipe_id,
            frames=event.frames if evidence else (),
            verdict=Verdict.ERROR,
            reason=reason,
            decided_at=now(),
            stage_milliseconds=event.stage_milliseconds,
        )


class PartShadowed(Event):
    """Sent by inference when a challenger has scored a part, after its verdict; the recorder writes it down."""

    stream: ClassVar[str] = "part.shadowed"
    trigger: Trigger
    recipe: str
    recipe_id: int
    frames: tuple[FrameFacts, ...]
    predictions: tuple[PredictionFacts, ...]
    scored_at: AwareDatetime


class InspectionCompleted(Event):
    """Sent by the recorder after the verdict is committed; the line's display and outputs act on it."""

    stream: ClassVar[str] = "inspection.completed"
    inspection_id: UUID
    station: str
    run_id: UUID
    trigger_number: int
    part_id: Text | None
    verdict: Verdict
    reason: Text
    anomaly_score: float | None
    model_version: str | None
    completed_at: AwareDatetime
    latency_milliseconds: float
    stage_milliseconds: dict[str, float] = {}


class ModelDeployed(Event):
    """Sent when a deployment row is written; a hint to inference to look at the deployments table."""

    stream: ClassVar[str] = "model.deployed"
    recipe: str
    alias: str
    model_version: str


class ReviewResolved(Event):
    """Sent after a person's decision is committed, and again until it was told; a hint to retrain to ask the labels."""

    stream: ClassVar[str] = "review.resolved"
    review_id: UUID
    inspection_id: UUID
    label_id: UUID
    station: str
    decision: str
    decided_by: Text
    decided_at: AwareDatetime


class ReviewsOverdue(Event):
    """Sent by the recorder when reviews have waited too long, and again from time to time; the line's engineer acts."""

    stream: ClassVar[str] = "review.overdue"
    overdue: int
    oldest_seconds: float
    ageing_seconds: float
    told_at: AwareDatetime


EVENTS: dict[str, type[Event]] = {
    event.stream: event
    for event in (
        *(PartTriggered, FrameCaptured, InspectionDecided, PartShadowed, InspectionCompleted),
        *(ModelDeployed, ReviewResolved, ReviewsOverdue),
    )
}


def decode_event(stream: str, body: bytes) -> Event:
    """Read an event back; what cannot be read is EventUnreadable, so that it can be set aside and not lost."""
    try:
        return EVENTS[stream].model_validate_json(body)
    except (KeyError, ValueError) as error:
        raise EventUnreadable(f"{stream}: {error}") from error


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)


class _Ticks:
    """The time in 4096ths of a millisecond; each reading is later than the one before, whatever the clock does."""

    def __init__(self) -> None:
        self.last = 0
        self.lock = threading.Lock()

    def next(self) -> int:
        with self.lock:
            self.last = max(self.last + 1, (time.time_ns() << 12) // 1_000_000)
            return self.last


_ticks = _Ticks()


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 6.2 method 3): 48 bits of milliseconds, 12 of their fraction, then 62 random ones.

    Ids sort by the time they were made; those of one process strictly in the order of the calls.
    """
    milliseconds, fraction = divmod(_ticks.next(), 1 << 12)
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | chance)
