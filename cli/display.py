"""What a running line looks like in the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from orchestrator.configuration import Loaded

if TYPE_CHECKING:
    from orchestrator.health import LineHealth
    from orchestrator.line import Line
    from orchestrator.supervisor import WorkerHealth

COLOURS = {"OK": "green", "NG": "red", "REVIEW": "yellow", "ERROR": "magenta"}
STATE_COLOURS = {"running": "green", "held": "red", "degraded": "red", "restarting": "yellow"}


class Display:
    """Rendered again and again; shows the step while starting, then the line."""

    def __init__(self, loaded: Loaded, parts: int) -> None:
        self.loaded, self.parts = loaded, parts
        self.step = "starting"
        self.up: Line | None = None
        self.final: LineHealth | None = None
        self.began = time.monotonic()

    def __rich__(self) -> RenderableType:
        health = self.final or (self.up.health() if self.up else None)
        if health is None:
            return Text(f"adline: {self.step} ({time.monotonic() - self.began:.0f} s)", style="cyan")
        return Group(self.heading(health), *self.progress(health), self.verdicts(health), self.workers(health))

    def heading(self, health: LineHealth) -> Text:
        server = self.loaded.settings.server
        name = "demo line" if self.loaded.is_demo else f"line {health.line}"
        state = "stopped" if self.final else health.state
        words = Text(f"adline {health.code_version}  {name}  ")
        words.append(state, style=STATE_COLOURS.get(state, "cyan"))
        words.append(f"  http://{server.host}:{server.port}", style="dim")
        for check, found in health.checks().items():
            if not found["ok"] and not self.final:
                words.append(f"\n  {check}: {found['detail']}", style="red" if health.state == "held" else "yellow")
        return words

    def progress(self, health: LineHealth) -> list[RenderableType]:
        if not self.parts:
            return []
        bar = Progress(TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn())
        bar.add_task("parts", total=self.parts, completed=min(health.tally["parts"], self.parts))
        return [bar]

    def verdicts(self, health: LineHealth) -> Table:
        tally = health.tally
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for verdict in tally["verdicts"]:
            table.add_column(verdict, justify="right", style=COLOURS[verdict])
        for heading in ("parts", "parts/min", "p50 ms", "p99 ms", "last part"):
            table.add_column(heading, justify="right")
        latency = tally["latency_ms"]
        table.add_row(
            *(str(count) for count in tally["verdicts"].values()),
            str(tally["parts"]),
            f"{tally['parts_per_minute']:g}",
            number(latency["p50"]),
            number(latency["p99"]),
            last_part(tally["last"]),
        )
        return table

    def workers(self, health: LineHealth) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for heading in ("worker", "state", "events", "memory", "restarts", ""):
            table.add_column(heading, style="dim" if not heading else None)
        for worker in health.workers:
            table.add_row(*worker_row(worker))
        for service in health.services:
            table.add_row(service.name, "running" if service.healthy else "down", "", "", str(service.restarts), "")
        return table


def worker_row(worker: WorkerHealth) -> tuple[str, ...]:
    memory = f"{worker.resident_bytes >> 20} MiB" if worker.resident_bytes else ""
    models = ", ".join(worker.facts.get("models", {}).values())
    return worker.name, worker.state, str(worker.handled), memory, str(worker.restarts), models


def last_part(last: dict[str, object] | None) -> str:
    if last is None:
        return "-"
    score = last["anomaly_score"]
    return f"#{last['trigger_number']} {last['verdict']}" + (f" {score:.3f}" if isinstance(score, float) else "")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
