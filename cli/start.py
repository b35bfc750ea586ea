"""`adline start`: bring the line up, show it, stop it in order."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from cli.display import BY_ITSELF, Display
from cli.option import ConfigOption, JsonOption
from orchestrator.configuration import Loaded, load_settings
from orchestrator.folders import state_folder
from orchestrator.logs import log_to_file, terminal_kept_clean
from orchestrator.origin import DEFAULT

if TYPE_CHECKING:
    from orchestrator.line import Line

POLL_SECONDS = 0.1
REFRESHES_PER_SECOND = 4
TRAINED_SECONDS = 900.0
CALM_SECONDS = 4.0  # the worker looks once a second whether the last labels are enough for another run


def start(
    config: ConfigOption = None,
    parts: Annotated[
        int,
        typer.Option(
            min=0, help="Stop after so many inspections are on record; 0 is never. Exit code 1 when one was lost."
        ),
    ] = 0,
    port: Annotated[int | None, typer.Option(help="Web port instead of server.port.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on instead of server.host.")] = None,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Have ELPV's experts answer the queue, so that the model is retrained.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the line up and run it until Ctrl-C, `adline stop`, or --parts are on record."""
    loaded = settings_of(config, {"server.port": port, "server.host": host}, oracle)
    logs = state_folder(loaded.home) / "logs"
    log_to_file(logs / "line.jsonl", "line")
    with os.fdopen(os.dup(2), "w") as errors, terminal_kept_clean(logs / "output.log") as terminal:
        summary = run(loaded, parts, terminal, errors, as_json, oracle)
    if summary is None:
        typer.echo("stopped while it was starting; no part was triggered", err=as_json)
        return
    if as_json:
        typer.echo(json.dumps(summary, default=str))
    else:
        typer.echo(in_words(summary, loaded.home))
    if parts and (summary["lost"] or summary["duplicated"]):
        raise typer.Exit(1)


def settings_of(config: Path | None, options: dict[str, Any], oracle: bool) -> Loaded:
    """With the oracle the demo line puts more before it than it would before people, unless the environment says so."""
    loaded = load_settings(config, os.environ, options)
    if not oracle:
        return loaded
    from orchestrator.oracle import demo_settings, refuse_strangers

    refuse_strangers(loaded.settings)
    if not loaded.is_demo:
        return loaded
    asked = demo_settings(loaded.settings)
    wanted = {path: value for path, value in asked.items() if loaded.origin.get(path) == DEFAULT}
    return load_settings(config, os.environ, wanted | options)


def run(
    loaded: Loaded, parts: int, terminal: IO[str], errors: IO[str], quiet: bool, oracle: bool = False
) -> dict[str, Any] | None:
    """Run the line; what it recorded. None when it was asked to stop before it was up.

    errors: where the one thing goes that must be seen even when quiet, the first admin's password.
    """
    from orchestrator.line import Options, line  # Ray and the web server: only for a line that runs

    summary = None
    stopping = Stopping()
    console = Console(file=terminal, quiet=quiet)
    display = Display(loaded, parts)
    with shown(display, console):

        def say(step: str) -> None:
            stopping.listen()  # again and again: Ray sets handlers of its own while it starts
            stopping.raise_if_asked()
            if step.partition(":")[0] != display.step.partition(":")[0] and not console.is_terminal:
                console.print(f"adline: {step}")
            display.step = step

        def tell(what: str) -> None:
            voice = Console(file=errors) if quiet else console
            voice.print(f"adline: {what}", markup=False, highlight=False, soft_wrap=True)

        with suppress(StartStopped), line(loaded, Options(parts=parts, tell=tell), say) as up:
            stopping.listen()
            display.up = up
            if up.signs_in_by_itself and not console.is_terminal:
                console.print(f"adline: {BY_ITSELF}")
            with loop_closed(up) if oracle else nullcontext():
                while not stopping.asked:
                    time.sleep(POLL_SECONDS)
                    if parts and up.enough(parts):
                        break
                    if up.mend():
                        stopping.listen()
                    display.news(console)
                if oracle:
                    wait_trained(up, stopping, display, console)
            display.step, display.stopping = "stopping: what is in flight is recorded", True
            up.stop_workers()
            summary = up.summary() | (loop_summary(up) if oracle else {})
            display.final = up.health()
    return summary


def loop_closed(up: Line) -> AbstractContextManager[object]:
    from orchestrator.oracle import oracle_at_work

    return oracle_at_work(up.database, up.settings)


def loop_summary(up: Line) -> dict[str, Any]:
    from orchestrator.closed_loop import closed_loop
    from workers.elpv import cells_by_image

    cells = {sha256: cell.type for sha256, cell in cells_by_image().items()}
    return closed_loop(up.database, up.run_id, cells)


def wait_trained(up: Line, stopping: Stopping, display: Display, console: Console) -> None:
    """Runs that wait or are under way when the last part is on record are waited for, within reason."""
    from orchestrator.closed_loop import settled

    display.step, until = "all parts are on record; the training run is waited for", time.monotonic() + TRAINED_SECONDS
    calm_at = time.monotonic() + CALM_SECONDS
    while not (stopping.asked or time.monotonic() > until):
        time.sleep(POLL_SECONDS)
        if not settled(up.database):
            calm_at = time.monotonic() + CALM_SECONDS
        elif time.monotonic() > calm_at:
            break
        display.news(console)
        if up.mend():
            stopping.listen()


def shown(display: Display, console: Console) -> AbstractContextManager[object]:
    """On a terminal the display is drawn again and again; a file or a pipe gets one line for each step instead."""
    if not console.is_terminal or console.quiet:
        return nullcontext()
    return Live(display, console=console, refresh_per_second=REFRESHES_PER_SECOND)


class StartStopped(Exception):
    """The line was asked to stop while it was starting."""


class Stopping:
    """Ctrl-C, SIGTERM and a closed terminal ask for an orderly stop; a second one while stopping changes nothing."""

    def __init__(self) -> None:
        # No Event: a handler that runs while its own thread is in Event.wait would wait for that very lock, for ever.
        self.asked = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants the line to go on
            signal.signal(signal.SIGHUP, self.ask)

    def ask(self, number: int, frame: object) -> None:
        self.asked = True

    def raise_if_asked(self) -> None:
        if self.asked:
            raise StartStopped


def in_words(summary: dict[str, Any], home: Path) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary["verdicts"].items())
    latency = summary["latency_ms"]
    lines = [
        f"{summary['parts']} inspections on record: {counts}",
        f"{summary['lost']} lost, {summary['duplicated']} duplicated, {summary['open_reviews']} in review",
    ]
    if summary["parts_per_second"]:
        lines.append(
            f"{summary['parts_per_second']} parts/s, latency p50 {latency['p50']} ms, p99 {latency['p99']} ms, "
            f"model {summary['model_version']}"
        )
    if "training_runs" in summary:
        lines += loop_in_words(summary)
    return "\n".join([*lines, f"records and images stay in {home}"])


def loop_in_words(summary: dict[str, Any]) -> list[str]:
    """What the oracle's labels came to."""
    undecided = summary["decided"].get("cannot_tell", 0)
    lines = [
        f"{summary['labels']} labels ({undecided} parts of which nobody could tell), "
        f"{summary['training_runs']} training runs, {summary['promoted']} promoted"
    ]
    lines += [f"  {run['sentence'] or run['error'] or run['state']}" for run in summary["runs"]]
    if summary["f1_before"] is not None:
        before, after = summary["f1_before"], summary["f1_after"]
        cells = ", ".join(f"{count} {kind}" for kind, count in summary["pool_cells"].items())
        lines.append(f"F1 on {summary['pool']} protected parts ({cells}): {before:.3f} before, {after:.3f} after")
    if summary["parts_per_second_training"] and summary["parts_per_second_idle"]:
        training, idle = summary["parts_per_second_training"], summary["parts_per_second_idle"]
        lines.append(f"{training} parts/s while training, {idle} otherwise")
    return lines
