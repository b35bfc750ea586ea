"""Captures every part that is triggered at one station: all its views, stored once, told as one event."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from storage.errors import ImageUnreadable, InspectionFailed, Overloaded, StaleTrigger, StopAsked
from storage.events import FrameCaptured, FrameFacts, InspectionDecided, PartTriggered, Trigger, Verdict, now
from storage.image_store import UNREADABLE_SUFFIX
from storage.images import SUFFIXES, ImageFacts, ImageStore, decode, describe, encode
from storage.stream import Entry, EventLog
from workers.capture.camera import Camera, Frame, Shot
from workers.capture.count import FrameCount
from workers.capture.folder import FolderCamera
from workers.capture.plan import StationPlan
from workers.capture.status import CameraStatus
from workers.capture.views import StationViews
from workers.consumer import Consumer, Delivery, Status
from workers.hot import HotFrames, hot_key

logger = logging.getLogger(__name__)

INFERENCE = "inference"  # the group whose backlog tells whether inference is behind
POLL_SECONDS = 0.005
REPORT_SECONDS = 0.2
UNKNOWN = ImageFacts(width=0, height=0, channels=0, bit_depth=0, media_type="application/octet-stream")


class TriggerProducer(Protocol):
    """Makes triggers by itself (interval, file arrival); runs in a thread of the capture worker."""

    @property
    def trouble(self) -> str:
        """Why there are no triggers now; empty when there are."""
        ...

    ended: str
    """Why there will be no more; empty as long as there will."""

    def run(self, stop: threading.Event) -> None:
        """Tell triggers until stopped."""
        ...


class CaptureWorker:
    """Owns the station's cameras, so that a part with several views is one event."""

    def __init__(
        self,
        *,
        stream_url: str,
        images: Path,
        minimum_free_bytes: int,
        plan: StationPlan,
        cameras: Callable[[], Sequence[Camera]],
        triggers: Callable[[EventLog], Sequence[TriggerProducer]],
        delivery: Delivery,
        hot: HotFrames,
    ) -> None:
        self.plan, self.hot, self.delivery, self.status = plan, hot, delivery, Status()
        self.cameras, self.triggers = cameras, triggers
        self.log = EventLog(stream_url)
        self.triggers_log = EventLog(stream_url)  # its own connection: the loop may be waiting on the other
        self.store = ImageStore(images, minimum_free_bytes)
        self.key = self.log.key(PartTriggered, plan.name)
        self.captured_key = self.log.key(FrameCaptured)
        self.producers: Sequence[TriggerProducer] = ()
        self.troubles = ""
        self.first_numbers: dict[UUID, int] = {}
        self.ended = ""
        self.failure: Exception | None = None
        self.untold: FrameCaptured | InspectionDecided | None = None
        self.stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Capture until stopped; triggers told meanwhile wait in their stream."""
        self.stop = stop
        cameras = self.cameras()
        self.views = StationViews(self.plan.name, cameras)
        self.watched = [
            camera.name for camera in cameras if isinstance(camera, FolderCamera) and camera.mode == "watch"
        ]
        self.pool = ThreadPoolExecutor(1 + 2 * len(cameras), thread_name_prefix="store")
        self.status.set("opening", ", ".join(camera.name for camera in cameras))
        self.store.sweep_temporary(older_than_seconds=3600)
        self.views.open()
        self.producers = self.triggers(self.triggers_log)
        threads = [threading.Thread(target=self.produce, args=(producer, stop)) for producer in self.producers]
        threads.append(threading.Thread(target=self.report_on, args=(stop,), name="report"))
        for thread in threads:
            thread.start()
        try:
            Consumer(self.log, [self.key], self.delivery, self.handle, self.bury, self.status).run(stop)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self.views.close()
            self.pool.shutdown()
        if self.failure:
            raise self.failure

    def produce(self, producer: TriggerProducer, stop: threading.Event) -> None:
        """A producer that fails ends the worker: a station without triggers must not look healthy."""
        try:
            producer.run(stop)
            self.ended = producer.ended or self.ended
        except Exception as error:  # the end of a thread, and soon of the process
            logger.exception("triggers of station %s ended", self.plan.name)
            self.failure = error
            stop.set()

    def report_on(self, stop: threading.Event) -> None:
        """In a thread: how the cameras are is told also while a part waits for inference, Redis or the disk."""
        self.report()
        while not stop.wait(REPORT_SECONDS):
            self.report()

    def report(self) -> None:
        self.mind_triggers()
        if self.ended:
            self.status.detail = self.ended  # a station that waits for nothing must not look as if it did
        states = self.views.status()
        counts = self.views.counts()
        self.status.facts["cameras"] = {name: camera_facts(state) for name, state in states.items()}
        self.status.facts["triggers"] = {name: count_facts(count) for name, count in counts.items()}

    def mind_triggers(self) -> None:
        """A watched folder that is gone is its camera's trouble, too: without files no part would find that out."""
        troubles = "; ".join(producer.trouble for producer in self.producers if producer.trouble)
        if troubles != self.troubles:
            self.troubles = troubles
            self.views.look(self.watched)
        if self.producers:
            self.status.facts["trigger_trouble"] = troubles

    def handle(self, entries: list[Entry]) -> None:
        if self.troubles:  # as was last seen: that there is a part says that the folder may be back
            self.views.look(self.watched)
        for entry in entries:
            if isinstance(entry.event, PartTriggered):
                self.inspect(entry, entry.event.trigger)

    def inspect(self, entry: Entry, trigger: Trigger) -> None:
        """Store first, then tell, and only then acknowledge: a crash between any two steps repeats the trigger.

        What could not be told is told later as it is: the camera would show another part by then.
        """
        if self.untold is None or self.untold.trigger != trigger:
            self.untold = self.outcome(trigger, entry.deliveries)
        self.log.publish_and_acknowledge([self.untold], [entry], self.delivery.group)
        self.untold = None

    def outcome(self, trigger: Trigger, deliveries: int) -> FrameCaptured | InspectionDecided:
        try:
            return self.capture(trigger, deliveries)
        except InspectionFailed as error:
            logger.warning("inspection %s: %s", trigger.inspection_id, error)
            return self.failed(trigger, str(error))

    def capture(self, trigger: Trigger, deliveries: int) -> FrameCaptured:
        started = time.perf_counter()
        waited = 1000 * (now() - trigger.triggered_at).total_seconds()
        self.refuse_stale(trigger, deliveries)
        self.make_way()
        self.refuse_stale(trigger, deliveries)
        begun = time.perf_counter()
        frames = self.views.capture(self.shot(trigger))
        taken = time.perf_counter()
        facts = [self.keep(trigger, frame) for frame in frames]
        stored = time.perf_counter()
        stages = {
            "trigger_queue": waited,
            "back_pressure": 1000 * (begun - started),
            "capture": 1000 * (taken - begun),
            "store": 1000 * (stored - taken),
        }
        return FrameCaptured(
            trigger=trigger,
            recipe=self.plan.recipe,
            recipe_id=self.plan.recipe_id,
            frames=tuple(facts),
            told_at=now(),
            stage_milliseconds=stages,
        )

    def shot(self, trigger: Trigger) -> Shot:
        path = Path(trigger.path) if trigger.path else None
        if trigger.run_id not in self.first_numbers:  # what is left of an earlier run has its own
            self.first_numbers[trigger.run_id] = self.log.first_number(str(trigger.run_id), self.plan.name)
        number_in_run = trigger.trigger_number - self.first_numbers[trigger.run_id] + 1
        return Shot(trigger.trigger_number, self.plan.timeout_seconds, trigger.part_id, path, number_in_run)

    def refuse_stale(self, trigger: Trigger, deliveries: int) -> None:
        """A live camera sees the world now: when the trigger is old, another part is in front of it."""
        age = (now() - trigger.triggered_at).total_seconds()
        limit = self.plan.trigger_maximum_age_seconds
        if self.views.is_live and age > limit:
            raise StaleTrigger(
                f"delivery {deliveries} of trigger {trigger.trigger_number} is {age:.1f} s old, the part has moved on "
                f"(trigger_maximum_age_seconds {limit:g})"
            )

    def make_way(self) -> None:
        """When inference is behind: wait for it, or give this part up as ERROR, as configured; nothing vanishes."""
        waiting = self.log.backlog(self.captured_key, INFERENCE)
        while waiting >= self.plan.maximum_in_flight:
            if self.plan.back_pressure == "error":
                raise Overloaded(
                    f"{waiting} parts wait for inference (maximum_in_flight {self.plan.maximum_in_flight})"
                )
            self.status.beat()
            if self.stop.wait(POLL_SECONDS):
                raise StopAsked(f"trigger waits: {waiting} parts wait for inference")
            waiting = self.log.backlog(self.captured_key, INFERENCE)

    def keep(self, trigger: Trigger, frame: Frame) -> FrameFacts:
        """Write the file; the hot copy is made from the same bytes meanwhile, and fsync goes on behind."""
        data = frame.encoded
        if data is None:
            assert frame.pixels is not None, "a frame has pixels or bytes"
            data = encode(frame.pixels, self.plan.image_format, self.plan.jpeg_quality)
        facts = facts_of(data)
        self.pool.submit(logged, self.keep_hot, trigger, frame, data)
        stored = self.store.put(data, SUFFIXES.get(facts.media_type, UNREADABLE_SUFFIX))
        self.pool.submit(logged, self.store.make_durable, [stored.sha256])
        return FrameFacts(
            camera=frame.camera,
            sha256=stored.sha256,
            md5=stored.md5,
            size_bytes=stored.size_bytes,
            media_type=facts.media_type,
            width=facts.width,
            height=facts.height,
            channels=facts.channels,
            bit_depth=facts.bit_depth,
            frame_number=frame.frame_number,
            hardware_timestamp_ns=frame.hardware_timestamp_ns,
            exposure_microseconds=finite(frame.exposure_microseconds),
            captured_at=frame.captured_at,
            source=frame.source,
        )

    def keep_hot(self, trigger: Trigger, frame: Frame, data: bytes) -> None:
        """Inference sees the pixels that were stored, so the hot copy is decoded from the bytes that are stored."""
        size = self.plan.image_size
        try:
            pixels = decode(
                data,
                minimum_side=size,
                maximum_megapixels=self.plan.maximum_megapixels,
                from_outside=frame.source is not None,
            )
        except InspectionFailed:
            return  # the evidence is kept; inference reads the file and answers with the reason
        self.hot.put(hot_key(trigger.inspection_id, frame.camera, size), pixels)

    def failed(self, trigger: Trigger, reason: str) -> InspectionDecided:
        return InspectionDecided(
            trigger=trigger,
            recipe=self.plan.recipe,
            recipe_id=self.plan.recipe_id,
            verdict=Verdict.ERROR,
            reason=reason,
            decided_at=now(),
        )

    def bury(self, entry: Entry, reason: str) -> list[InspectionDecided]:
        """A trigger that could not be captured is recorded as ERROR, never OK."""
        event = entry.event
        return [self.failed(event.trigger, f"capture: {reason}")] if isinstance(event, PartTriggered) else []


def logged(step: Callable[..., None], *arguments: object) -> None:
    """What goes on behind is done again by others when it fails; but it does not fail in silence."""
    try:
        step(*arguments)
    except Exception:  # the end of a thread's task
        logger.exception("%s failed", step.__qualname__)


def facts_of(data: bytes) -> ImageFacts:
    """What the header says; a file without a readable header is evidence all the same."""
    try:
        return describe(data)
    except ImageUnreadable:
        return UNKNOWN


def finite(value: float | None) -> float | None:
    """Some drivers answer NaN for what they do not know."""
    return value if value is not None and math.isfinite(value) else None


def camera_facts(state: CameraStatus) -> dict[str, Any]:
    return {name: str(value) for name, value in vars(state).items() if value is not None}


def count_facts(count: FrameCount) -> dict[str, int]:
    return {name: value for name, value in vars(count).items() if not name.startswith("_")}
