"""What is known of the line's health, and what follows from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.monitor import ServiceState
from orchestrator.pipeline import STAGES
from orchestrator.supervisor import WorkerHealth

ASIDE: Final = frozenset(stage.name for stage in STAGES if not stage.vital)


@dataclass(frozen=True)
class DiskHealth:
    """Room for images: below the minimum the line holds."""

    path: str
    free_bytes: int
    minimum_free_bytes: int
    used_bytes: int = 0

    @property
    def healthy(self) -> bool:
        return self.free_bytes >= self.minimum_free_bytes


def disk_health(images: Path, minimum_free_bytes: int) -> DiskHealth:
    folder = next(place for place in (images, *images.parents) if place.exists())
    usage = shutil.disk_usage(folder)
    return DiskHealth(str(images), usage.free, minimum_free_bytes, usage.used)


@dataclass(frozen=True)
class LineHealth:
    """Everything `adline status` shows of a running line."""

    line: str
    run_id: str
    code_version: str
    uptime_seconds: float
    workers: Sequence[WorkerHealth]
    services: Sequence[ServiceState]
    disk: DiskHealth
    tally: dict[str, Any]
    queue: Mapping[str, Any] | None = None
    """Reviews that wait, as they last were; None while Postgres does not say."""
    dead_letters: int | None = None
    """Events that were set aside; None while Redis does not say."""

    def checks(self) -> dict[str, dict[str, Any]]:
        """Each check of /readyz by name: whether it holds, and why not."""
        found = {state.name: check(state.healthy, state.text) for state in self.services}
        found["disk"] = check(self.disk.healthy, f"{self.disk.free_bytes >> 20} MiB free at {self.disk.path}")
        for worker in self.workers:
            words = f"{worker.state}: {worker.detail}" if worker.detail else worker.state
            found[worker.name] = check(worker.healthy, words)
        found["model"] = self.model_check()
        found["cameras"] = self.camera_check()
        return found | self.station_checks()

    def station_checks(self) -> dict[str, dict[str, Any]]:
        """Each camera, and each station's triggers where adline makes them."""
        found: dict[str, dict[str, Any]] = {}
        for worker in self.workers:
            station = worker.name.removeprefix("capture-")
            away = "" if worker.answers else f"unknown: {worker.name} is {worker.state}"
            for camera, facts in worker.facts.get("cameras", {}).items():
                found[f"camera {station}/{camera}"] = check(camera_up(worker, facts), away or camera_words(facts))
            if (trouble := worker.facts.get("trigger_trouble")) is not None:
                found[f"trigger {station}"] = check(not (away or trouble), away or trouble or "running")
        return found

    def camera_check(self) -> dict[str, Any]:
        """Parts can be inspected at one station at least."""
        cameras = [found for name, found in self.station_checks().items() if name.startswith("camera ")]
        up = sum(found["ok"] for found in cameras)
        return check(up > 0, f"{up} of {len(cameras)} up" if cameras else "no camera is open yet")

    def model_check(self) -> dict[str, Any]:
        loaded = {k: v for worker in self.workers for k, v in worker.facts.get("models", {}).items()}
        words = ", ".join(f"{recipe}: {version}" for recipe, version in sorted(loaded.items()))
        return check(bool(loaded), words or "no model is loaded yet")

    @property
    def ready(self) -> bool:
        checks = self.checks()
        # Parts are inspected without the operator's pages: that they are away is shown, and holds nothing up.
        # One lost camera holds up its own station alone.
        aside = {worker.name for worker in self.workers if worker.stage in ASIDE} | self.station_checks().keys()
        return bool(self.workers) and all(one["ok"] for name, one in checks.items() if name not in aside)

    @property
    def state(self) -> str:
        """starting, running, degraded when a station cannot, or held with something that does not work."""
        if self.ready:
            return "running" if all(one["ok"] for one in self.station_checks().values()) else "degraded"
        held = any(worker.state == "held" for worker in self.workers) or not self.disk.healthy
        return "held" if held else "starting" if self.uptime_seconds < 60 else "degraded"

    def shown(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "state": self.state,
            "pid": os.getpid(),
            "run_id": self.run_id,
            "code_version": self.code_version,
            "uptime_seconds": round(self.uptime_seconds, 1),
            **self.tally,
            "workers": [asdict(worker) for worker in self.workers],
            "services": [asdict(state) for state in self.services],
            "disk": asdict(self.disk),
            "stations": self.station_checks(),
            "dead_letters": self.dead_letters,
        }


def camera_up(worker: WorkerHealth, facts: Mapping[str, str]) -> bool:
    return worker.answers and facts["state"] == "up"


def camera_words(facts: Mapping[str, str]) -> str:
    if facts["state"] == "up":
        return "up"
    since = f" since {facts['since']:.19}" if "since" in facts else ""
    return f"{facts['state']}{since}: {facts.get('last_error', 'no frame yet')}"


def check(holds: bool, detail: str) -> dict[str, Any]:
    return {"ok": holds, "detail": detail}
