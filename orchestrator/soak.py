"""The proof that nothing is lost: the real line, while its workers and services are killed at random."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.configuration import Loaded
from orchestrator.line import Line, Options, line, say_nothing
from orchestrator.monitor import Service
from orchestrator.station import SoftwareTrigger, Station
from orchestrator.supervisor import WorkerHealth
from storage.errors import AdlineError, ServiceFailed, StreamUnavailable
from storage.events import PartTriggered
from workers.capture.trigger import CAPTURE, software_trigger

LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 180.0  # without a new record for so long, what is missing is lost
WORKER_KINDS = ("capture", "inference", "record")
AHEAD = 8  # triggers that may wait for a station
IN_FLIGHT = 40
"""Parts that may be on their way when the next kill is due: no more are triggered before it is done, however quick the
line is."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: of whom, when so many parts are on record, and how long until it was back."""

    target: str
    at_parts: int
    recovery_seconds: float | None = None


def kill_plan(parts: int, kills: int, seed: int, services: Sequence[str]) -> list[Kill]:
    """Kills spread over the run, jittered; each service dies once, the rest are workers drawn at random."""
    draw = random.Random(seed)
    count = max(0, kills - len(services))
    targets = [*services[:kills], *(draw.choice(WORKER_KINDS) for _ in range(count))]
    draw.shuffle(targets)
    step = parts / (len(targets) + 1)
    return [Kill(target, int(step * (place + draw.uniform(0.2, 1.0)))) for place, target in enumerate(targets)]


def on_demand(loaded: Loaded) -> Loaded:
    """The same line; what triggers its parts at an interval is the soak."""
    stations = tuple(
        station.model_copy(update={"trigger": SoftwareTrigger(kind="software")})
        if station.trigger.kind == "interval"
        else station
        for station in loaded.settings.stations
    )
    return replace(loaded, settings=loaded.settings.model_copy(update={"stations": stations}))


def soak(loaded: Loaded, parts: int, kills: int, seed: int, say: Callable[[str], None] = say_nothing) -> dict[str, Any]:
    """Run the line for so many parts under so many kills; what is on record afterwards."""
    ours = [station for station in loaded.settings.stations if station.trigger.kind == "interval"]
    with line(on_demand(loaded), Options(parts=parts, web=False), say) as up:
        services = [service.name for service in killable(up)]
        done = Killer(up, kill_plan(parts, kills, seed, services), ours).run(parts, say)
        up.stop_workers()
        summary = up.summary()
        problems = up.log.dead_count()
    times = sorted(kill.recovery_seconds for kill in done if kill.recovery_seconds is not None)
    return {
        "parts": parts,
        "recorded": summary["parts"],
        "lost": parts - (summary["parts"] - summary["duplicated"]),
        "duplicated": summary["duplicated"],
        "kills": len(done),
        "kills_not_done": kills - len(done),
        "recovery_seconds": {"p50": middle(times), "max": times[-1] if times else None},
        "verdicts": summary["verdicts"],
        "dead_letters": problems,
        "parts_per_second": summary["parts_per_second"],
        "seed": seed,
        "killed": [vars(kill) for kill in done],
    }


def killable(up: Line) -> list[Service]:
    """The services that are ours to kill."""
    return [service for service in up.services if hasattr(service, "process")]


def middle(times: Sequence[float]) -> float | None:
    return times[len(times) // 2] if times else None


class Killer:
    """Triggers parts, as fast as the line takes them; watches the records grow, and kills what the plan says."""

    def __init__(self, up: Line, plan: Sequence[Kill], stations: Sequence[Station]) -> None:
        self.up, self.plan, self.stations = up, list(plan), stations
        self.done: list[Kill] = []

    def run(self, parts: int, say: Callable[[str], None]) -> list[Kill]:
        recorded, changed_at = 0, time.monotonic()
        while recorded < parts and time.monotonic() - changed_at < PATIENCE_SECONDS:
            self.trigger(min(parts, self.plan[0].at_parts + IN_FLIGHT) if self.plan else parts)
            found = self.recorded(recorded)
            if found > recorded:
                recorded, changed_at = found, time.monotonic()
            if self.plan and recorded >= self.plan[0].at_parts:
                self.strike(self.plan.pop(0))
                changed_at = time.monotonic()
            say(f"{recorded} of {parts} parts on record, {len(self.done)} kills")
            time.sleep(LOOK_SECONDS)
        return self.done

    def trigger(self, most: int) -> None:
        """Until so many parts were triggered in all, or enough wait for each station."""
        for station in self.stations:
            key = self.up.log.key(PartTriggered, station.name)
            with suppress(StreamUnavailable):  # Valkey may just have been killed
                while self.up.log.backlog(key, CAPTURE) < AHEAD and self.triggered(station, most):
                    pass

    def triggered(self, station: Station, most: int) -> bool:
        told = software_trigger(self.up.log, station.name, self.up.run_id, product=station.product, limit=most)
        return told.trigger_number > 0

    def recorded(self, before: int) -> int:
        """Postgres may just have been killed: then as many as before."""
        try:
            return self.up.recorded()
        except ServiceFailed:
            return before

    def strike(self, kill: Kill) -> None:
        struck_at = time.monotonic()
        back = self.kill_worker(kill.target) if kill.target in WORKER_KINDS else self.kill_service(kill.target)
        while not back():
            if time.monotonic() - struck_at > PATIENCE_SECONDS:
                raise AdlineError(f"{kill.target} was killed and did not come back in {PATIENCE_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
        self.done.append(replace(kill, recovery_seconds=round(time.monotonic() - struck_at, 2)))

    def kill_worker(self, stage: str) -> Callable[[], bool]:
        self.up.supervisor.check()
        before = next(health for health in self.up.supervisor.health() if health.stage == stage)
        os.kill(before.pid, signal.SIGKILL)

        def back() -> bool:
            self.up.supervisor.check()
            return is_back(self.up.supervisor.health(), before)

        return back

    def kill_service(self, name: str) -> Callable[[], bool]:
        service: Any = next(service for service in killable(self.up) if service.name == name)
        before = service.process()
        before.kill()

        def back() -> bool:
            now = service.process()
            return now is not None and now.pid != before.pid and bool(service.is_healthy())

        return back


def is_back(healths: Sequence[WorkerHealth], before: WorkerHealth) -> bool:
    """At work again, in a new process."""
    now = next(health for health in healths if health.name == before.name)
    return now.pid != before.pid and now.state == "running"
