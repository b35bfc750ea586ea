"""What a running line looks like in the terminal: what it does, what it found, and what to do when it cannot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cli.status import dead_words, queue_words
from orchestrator.configuration import Loaded

if TYPE_CHECKING:
    from orchestrator.health import LineHealth
    from orchestrator.line import Line
    from orchestrator.supervisor import WorkerHealth

COLOURS = {"OK": "green", "NG": "red", "REVIEW": "yellow", "ERROR": "magenta"}
STATE_COLOURS = {"running": "green", "held": "red", "degraded": "red"}
ADVICE = {
    "disk": "make room there; the line goes on by itself (images.minimum_free_megabytes says how much it wants)",
    "postgres": "it is brought back by itself; parts wait meanwhile; its log is logs/postgres.log",
    "valkey": "it is brought back by itself; parts wait meanwhile; its log is logs/valkey.log",
    "database": "parts wait until it answers; see database.url",
    "redis": "parts wait until it answers; see stream.url",
}
"""What to do about a check that fails; nothing is lost while it does."""
BY_ITSELF = "the demo line lets whoever is at this machine in without a password; no other line or address does"


class Display:
    """Rendered again and again; shows the step while starting, then the line."""

    def __init__(self, loaded: Loaded, parts: int) -> None:
        self.loaded, self.parts = loaded, parts
        self.step = "starting"
        self.stopping = False
        self.up: Line | None = None
        self.final: LineHealth | None = None
        self.began = time.monotonic()
        self.told = ""

    def __rich__(self) -> RenderableType:
        health = self.final or (self.up.health() if self.up else None)
        return self.starting() if health is None else Group(*self.running(health))

    def news(self, console: Console) -> None:
        """Where nothing is drawn again and again, what training says is printed once."""
        if console.is_terminal or console.quiet or self.up is None:
            return
        for line in training(self.up.health(), steps=False):
            if line != self.told:
                console.print(f"adline:{line}", markup=False, highlight=False, soft_wrap=True)
            self.told = line

    def starting(self) -> Text:
        """One line while there is nothing to see yet; it counts, so that one sees that it lives."""
        return Text(f"adline: {self.step} ({time.monotonic() - self.began:.0f} s)", style="cyan")

    def running(self, health: LineHealth) -> Iterator[RenderableType]:
        yield self.heading(health)
        yield from self.troubles(health)
        yield from self.progress(health)
        yield Text()
        yield self.verdicts(health)
        yield from map(Text, training(health))
        yield from self.waiting(health)
        if not self.final:
            yield Text()
            yield self.workers(health)
            yield Text(f"\n{self.step if self.stopping else 'Ctrl-C stops the line in order'}", style="dim")
            if self.up and self.up.signs_in_by_itself:
                yield Text(BY_ITSELF, style="dim")

    def state(self, health: LineHealth) -> str:
        return "stopped" if self.final else "stopping" if self.stopping else health.state

    def heading(self, health: LineHealth) -> Text:
        server, state = self.loaded.settings.server, self.state(health)
        name = "demo line" if self.loaded.is_demo else f"line {health.line}"
        words = Text(f"adline {health.code_version}  {name}  ", no_wrap=True)
        words.append(state, style=f"bold {STATE_COLOURS.get(state, 'cyan')}")
        if not self.final:
            words.append(f"  http://{server.host}:{server.port}", style="dim")
        return words

    def troubles(self, health: LineHealth) -> Iterator[Text]:
        """Each check that fails, and what to do; a worker that is still starting needs nothing."""
        if self.final or self.stopping:
            return
        for check, found in health.checks().items():
            if not found["ok"]:
                yield Text(f"  {check}: {found['detail']}", style="red" if health.state == "held" else "yellow")
                if check in ADVICE:
                    yield Text(f"    {ADVICE[check]}", style="bold")

    def progress(self, health: LineHealth) -> Iterator[RenderableType]:
        if self.parts:
            bar = Progress(TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn())
            bar.add_task("on record", total=self.parts, completed=min(health.tally["parts"], self.parts))
            yield bar

    def waiting(self, health: LineHealth) -> Iterator[Text]:
        """What waits for people: reviews, and events that were set aside."""
        if health.queue and not self.final:
            yield Text(f"  {queue_words(health.queue)}", style="yellow" if health.queue["overdue"] else "")
        if health.dead_letters:
            yield Text(f"  {dead_words(health.dead_letters)}", style="yellow")

    def verdicts(self, health: LineHealth) -> Table:
        tally = health.tally
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for verdict in tally["verdicts"]:
            table.add_column(verdict, justify="right", style=COLOURS[verdict], no_wrap=True, min_width=len(verdict))
        for heading in ("parts", "parts/min", "p50 ms", "p99 ms", "last part"):
            table.add_column(heading, justify="right", no_wrap=True)
        latency = tally["latency_ms"]
        table.add_row(
            *(str(count) for count in tally["verdicts"].values()),
            str(tally["parts"]),
            whole(tally["parts_per_minute"]),
            whole(latency["p50"]),
            whole(latency["p99"]),
            last_part(tally["last"]),
        )
        return table

    def workers(self, health: LineHealth) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("worker", "state", "handled", "memory", "restarts"):
            table.add_column(heading, justify="left" if heading in ("worker", "state") else "right", no_wrap=True)
        for worker in health.workers:
            table.add_row(*worker_row(worker), style=None if worker.healthy else "yellow")
        for service in health.services:
            state = "running" if service.healthy else "down"
            table.add_row(service.name, state, "", "", str(service.restarts), style=None if service.healthy else "red")
        models = {version for worker in health.workers for version in worker.facts.get("models", {}).values()}
        return Group(table, Text(f"model {', '.join(sorted(models))}", style="dim")) if models else Group(table)


def training(health: LineHealth, steps: bool = True) -> Iterator[str]:
    """How far retraining is: labels that arrived, the run, the gate's sentence, F1 before and after."""
    facts = next((one.facts["training"] for one in health.workers if "training" in one.facts), None)
    if facts is None:
        return
    for recipe, count in facts["new_labels"].items() if steps else ():
        wanted = facts["after_labels"][recipe]
        if wanted:
            yield f"  {recipe}: {count} new labels, retrained after {wanted}"
    if newest := facts["newest"]:
        yield (f"  {newest['words']}" if steps else f" {newest['step']}") + f1(newest)


def f1(run: Mapping[str, Any]) -> str:
    """Of champion and candidate on the protected pool, once the gate has both."""
    if run["f1_before"] is None or run["f1_after"] is None:
        return ""
    return f" (F1 on protected parts: {run['f1_before']:.3f} before, {run['f1_after']:.3f} with the candidate)"


def worker_row(worker: WorkerHealth) -> tuple[str, ...]:
    memory = f"{worker.resident_bytes >> 20} MiB" if worker.resident_bytes else ""
    return worker.name, worker.state, str(worker.handled), memory, str(worker.restarts)


def last_part(last: dict[str, object] | None) -> str:
    if last is None:
        return "-"
    score = last["anomaly_score"]
    return f"#{last['trigger_number']} {last['verdict']}" + (f" {score:.3f}" if isinstance(score, float) else "")


def whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
