"""What the pipeline costs: the line against a bare loop of the same detector, in turns, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import IO, Any

from orchestrator.configuration import Loaded
from orchestrator.line import Line, Options, line, say_nothing
from orchestrator.plan import Place, tasks
from orchestrator.settings import Settings
from orchestrator.station import SoftwareTrigger
from orchestrator.supervisor import Task
from storage import records
from storage.errors import AdlineError
from storage.events import InspectionCompleted
from workers.capture.build import memory_cameras
from workers.capture.trigger import IntervalTrigger
from workers.elpv import replayed_cells

ROUNDS = 4
WARM_PARTS = 12
HALF = 0.5
PATIENCE_SECONDS = 120.0
FOLLOW_SECONDS = 0.2  # rarely, for looking costs the line time
FRAMES = 24
"""Different frames that the camera hands over in turn."""


@dataclass(frozen=True)
class FrameSize:
    """Pixels."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> FrameSize:
        width, _, height = text.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 20000 and 16 <= int(height) <= 20000):
            raise AdlineError(f"--frame is {text!r}; allowed: WIDTHxHEIGHT in pixels, such as 1440x1080")
        return cls(int(width), int(height))


def bench_pipeline(
    loaded: Loaded, parts: int, size: FrameSize, per_second: float, say: Callable[[str], None] = say_nothing
) -> dict[str, Any]:
    """Saturated in rounds against the bare loop, then at half load (or per_second) for the overhead."""
    taught = loaded.settings.recipes[loaded.settings.stations[0].recipe].teach
    assert taught is not None, "the demo's recipe is taught"
    files = [cell.path for cell in passing(taught.model_dump())[:FRAMES]]
    plan = partial(memory_plan, files=files, size=size)
    with line(quiet(loaded), Options(plan=plan, web=False), say) as up, bare_loop(up, files, size) as bare:
        trigger = Triggers(up)
        trigger.give(WARM_PARTS, 0.0)
        figures = Figures(size)
        for number in range(ROUNDS):
            say(f"full speed, round {number + 1} of {ROUNDS}: line, then bare loop")
            figures.full_rates.append(rate_of(trigger.give(parts // ROUNDS, 0.0)))
            figures.full_bare += bare.score(parts // ROUNDS, 0.0)
        half = per_second or HALF * median(figures.full_rates)
        rest_seconds = max(0.0, 1 / half - median(figures.full_bare) / 1000)
        for number in range(ROUNDS):
            say(f"{half:.1f} parts/s, round {number + 1} of {ROUNDS}: line, then bare loop")
            figures.half_parts += trigger.give(parts // ROUNDS // 2, 60 * half)
            figures.half_bare += bare.score(parts // ROUNDS // 2, rest_seconds)
        return {**figures.shown(), "half_load_parts_per_second": round(half, 2), "frames_from": frames_from(up)}


@dataclass
class Figures:
    """What was measured: at full speed, and at half load.

    Overhead is a part's time from trigger to committed record, less what the bare loop takes for a frame that comes at
    the same pace: a core that rests between two frames is slower, with or without a pipeline.
    """

    size: FrameSize
    full_rates: list[float] = field(default_factory=list)
    full_bare: list[float] = field(default_factory=list)
    half_parts: list[InspectionCompleted] = field(default_factory=list)
    half_bare: list[float] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        pipeline, bare = median(self.full_rates), 1000 * len(self.full_bare) / sum(self.full_bare)
        paced = median(self.half_bare)
        overheads = sorted(part.latency_milliseconds - paced for part in self.half_parts)
        return {
            "frame": f"{self.size.width}x{self.size.height}",
            "pipeline_parts_per_second": round(pipeline, 2),
            "bare_parts_per_second": round(bare, 2),
            "efficiency": round(pipeline / bare, 3),
            "overhead_ms": {"p50": share(overheads, 0.5), "p99": share(overheads, 0.99)},
            "bare_ms": {"full_speed": round(median(self.full_bare), 2), "half_load": round(paced, 2)},
            "stages_ms": self.stages(),
            "rounds_parts_per_second": [round(rate, 2) for rate in self.full_rates],
        }

    def stages(self) -> dict[str, float]:
        """The median of each stage at half load, in the order of a part's journey."""
        names = dict.fromkeys(name for part in self.half_parts for name in part.stage_milliseconds)
        return {
            name: round(median(part.stage_milliseconds.get(name, 0.0) for part in self.half_parts), 2) for name in names
        }


def frames_from(up: Line) -> dict[str, int]:
    """How many frames came from memory and how many from their files."""
    up.supervisor.check()
    counted = Counter[str]()
    for worker in up.supervisor.health():
        counted.update(worker.facts.get("frames_from", {}))
    return dict(counted)


def share(ordered: Sequence[float], part: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 2)


def rate_of(parts: Sequence[InspectionCompleted]) -> float:
    """Parts a second between the first and the last record."""
    times = sorted(part.completed_at for part in parts)
    return (len(times) - 1) / (times[-1] - times[0]).total_seconds()


def quiet(loaded: Loaded) -> Loaded:
    """The demo line with triggers from here and no operator's work made."""
    station = loaded.settings.stations[0].model_copy(update={"trigger": SoftwareTrigger(kind="software")})
    return replace(loaded, settings=loaded.settings.model_copy(update={"stations": (station,)}))


def passing(taught: Mapping[str, Any]) -> Sequence[Any]:
    """Cells that the model was not taught from."""
    return replayed_cells(
        taught["cells"],
        shuffled=True,
        seed=1,
        taught_cells=taught["cells"],
        taught_count=taught["count"],
        taught_seed=taught["seed"],
    )


def memory_plan(settings: Settings, place: Place, files: Sequence[Path], size: FrameSize) -> list[Task]:
    """The line's own plan, with a camera that hands over frames from memory."""
    cameras = partial(memory_cameras, settings.stations[0].cameras[0].name, list(files), size.width, size.height)
    return [
        replace(task, arguments={**task.arguments, "cameras": cameras}) if task.stage == "capture" else task
        for task in tasks(settings, place)
    ]


class Triggers:
    """Gives triggers as an interval trigger does, and follows what is told once they are committed."""

    def __init__(self, up: Line) -> None:
        self.up, self.given = up, 0
        _, self.after = up.log.follow(InspectionCompleted, "")

    def give(self, parts: int, per_minute: float) -> list[InspectionCompleted]:
        """What is on record of these parts; per_minute 0 is as fast as the line takes them."""
        self.given += parts
        station = self.up.settings.stations[0].name
        producer = IntervalTrigger(self.up.log, station, self.up.run_id, per_minute, self.given, None)
        producer.run(threading.Event())
        completed: list[InspectionCompleted] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(completed) < parts:
            if time.monotonic() > deadline:
                raise AdlineError(f"the line recorded {len(completed)} of {parts} parts and no more")
            time.sleep(FOLLOW_SECONDS)
            told, self.after = self.up.log.follow(InspectionCompleted, self.after)
            completed += [event for event in told if isinstance(event, InspectionCompleted)]
        return completed


class Bare:
    """The bare loop in a process of its own, idle between its turns."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout, "both are pipes"
        self.process = process
        self.asks: IO[str] = process.stdin
        self.answers: IO[str] = process.stdout
        self.answer()  # loaded and warm

    def score(self, frames: int, rest_seconds: float) -> list[float]:
        """Milliseconds of each frame, with a rest before each."""
        print(frames, rest_seconds, file=self.asks, flush=True)
        return self.answer()

    def answer(self) -> list[float]:
        said = self.answers.readline()
        if not said:
            raise AdlineError(f"the bare loop ended with exit code {self.process.wait()}")
        milliseconds: list[float] = json.loads(said)
        return milliseconds


@contextmanager
def bare_loop(up: Line, files: Sequence[Path], size: FrameSize) -> Iterator[Bare]:
    with up.database.begin() as session:
        version = records.deployed_model(session, up.settings.stations[0].recipe)
    assert version is not None, "the line is up"
    arguments = [
        str(up.place.models / version.id),
        version.sha256,
        str(up.settings.inference.threads),
        str(size.width),
        str(size.height),
        json.dumps([str(file) for file in files]),
    ]
    command = [sys.executable, "-m", "workers.inference.bare", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Bare(process)
        finally:
            process.kill()
