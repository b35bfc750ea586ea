"""From a station's settings to its cameras and triggers; functions, so that an actor can be given them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from storage.errors import CameraLost
from storage.stream import EventLog
from workers.capture.arrivals import FileArrivals, complete_files
from workers.capture.camera import Camera
from workers.capture.dataset import DatasetCamera
from workers.capture.folder import FolderCamera, FolderMode
from workers.capture.memory import MemoryCamera
from workers.capture.opencv import StreamFormat, opencv_camera
from workers.capture.told import ToldFiles
from workers.capture.trigger import FileTrigger, IntervalTrigger
from workers.capture.worker import TriggerProducer
from workers.elpv import replayed_cells
from workers.frames import colour_frames

Options = Mapping[str, Any]


def build_cameras(
    cameras: Sequence[Options],
    taught: Options | None,
    hidden: AbstractSet[str] = frozenset(),
    maximum_megapixels: float = 100,
) -> list[Camera]:
    """The cameras of a station, closed; a dataset camera leaves out what the model is taught from, or was.

    hidden: images that models of the recipe were taught from, under other settings maybe.
    """
    known, limit = {**(taught or {"kind": "none"}), "hidden": hidden}, {"maximum_megapixels": maximum_megapixels}
    return [BUILDERS[options["kind"]]({**options, **limit}, known) for options in cameras]


def folder_camera(options: Options, taught: Options) -> Camera:
    mode: FolderMode = "watch" if options["watch"] else "loop" if options["loop"] else "once"
    return FolderCamera(
        options["name"],
        Path(options["path"]),
        mode,
        bayer=options["bayer"],
        pattern=options["pattern"],
        maximum_megapixels=options["maximum_megapixels"],
    )


def elpv_camera(options: Options, taught: Options) -> Camera:
    known: Options = taught if taught["kind"] == "elpv" else {"cells": "mono", "count": 0, "seed": 0}
    cells = replayed_cells(
        options["cells"],
        shuffled=options["order"] == "shuffled",
        seed=options["seed"],
        taught_cells=known["cells"],
        taught_count=known["count"],
        taught_seed=known["seed"],
        hidden=taught["hidden"],
    )
    return DatasetCamera(options["name"], [cell.path for cell in cells])


def live_camera(options: Options, taught: Options) -> Camera:
    milliseconds = options["exposure_milliseconds"]
    asked = StreamFormat(
        width=options["width"],
        height=options["height"],
        exposure_microseconds=None if milliseconds is None else 1000 * milliseconds,
        bayer=options["bayer"],
    )
    return opencv_camera(options["name"], options["source"], timeout_seconds=options["timeout_seconds"], asked=asked)


def memory_cameras(name: str, files: Sequence[Path], width: int, height: int) -> list[Camera]:
    """A camera that hands over colour frames of this size from memory, for measuring."""
    return [MemoryCamera(name, colour_frames(files, width, height))]


BUILDERS: Mapping[str, Callable[[Options, Options], Camera]] = {
    "folder": folder_camera,
    "elpv": elpv_camera,
    "opencv": live_camera,
}


def build_triggers(
    log: EventLog,
    *,
    station: str,
    run_id: UUID,
    limit: int,
    product: str | None,
    trigger: Options,
    cameras: Sequence[Options],
) -> list[TriggerProducer]:
    """What makes the station's triggers by itself; none when they come from outside."""
    if trigger["kind"] == "interval":
        per_minute, last = trigger["parts_per_minute"], partial(last_number, cameras)
        return [IntervalTrigger(log, station, run_id, per_minute, limit, product, last)]
    if trigger["kind"] == "file":
        return [FileTrigger(log, station, run_id, limit, product, arrivals(log, station, trigger, cameras).poll)]
    return []


def last_number(cameras: Sequence[Options]) -> int:
    """A recording played once has as many parts in a run as its shortest folder has images; 0 is without end."""
    recordings = [
        camera for camera in cameras if camera["kind"] == "folder" and not camera["watch"] and not camera["loop"]
    ]
    return min((images_in(camera) for camera in recordings), default=0)


def images_in(camera: Options) -> int:
    """An empty folder is what an unmounted share looks like: nothing to play yet rather than without end."""
    found = [path for path in complete_files(Path(camera["path"]), 0) if fnmatch(path.name, camera["pattern"])]
    if not found:
        raise CameraLost(camera["name"], f"folder {camera['path']} holds no complete image")
    return len(found)


def arrivals(log: EventLog, station: str, trigger: Options, cameras: Sequence[Options]) -> FileArrivals:
    watched = next(camera for camera in cameras if camera["kind"] == "folder" and camera["watch"])
    folder = Path(watched["path"])
    told = ToldFiles(log, station, folder, watched["pattern"])
    settle_seconds = trigger["settle_seconds"]
    return FileArrivals(folder, told.already_seen, settle_seconds, forget=told.forget, tidy=told.tidy)
