"""From a station's settings to its cameras and triggers; functions, so that an actor can be given them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from storage.stream import EventLog
from workers.capture.arrivals import FileArrivals
from workers.capture.camera import Camera
from workers.capture.trigger import FileTrigger, IntervalTrigger, arrival_state
from workers.capture.worker import TriggerProducer

Options = Mapping[str, Any]


def build_cameras(cameras: Sequence[Options]) -> list[Camera]:
    """The cameras of a station, closed."""
    return [build_camera(options) for options in cameras]


def build_triggers(
    station: str,
    run_id: UUID,
    limit: int,
    product: str | None,
    trigger: Options,
    cameras: Sequence[Options],
    log: EventLog,
) -> list[TriggerProducer]:
    """What makes the station's triggers by itself; none when they come from outside."""
    if trigger["kind"] == "interval":
        return [IntervalTrigger(log, station, run_id, trigger["parts_per_minute"], limit, product)]
    if trigger["kind"] == "file":
        folder = next(Path(camera["path"]) for camera in cameras if camera["kind"] == "folder")
        arrivals = FileArrivals(
            folder,
            already_seen=lambda path: log.arrived(station, str(path)) == arrival_state(path),
            settle_seconds=trigger["settle_seconds"],
        )
        return [FileTrigger(log, station, run_id, limit, product, arrivals.poll)]
    return []
