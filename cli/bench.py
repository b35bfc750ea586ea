"""`adline bench`: measure on this machine; ratios are taken in one run."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.bench_detection import detection
from cli.bench_drift import drift
from cli.bench_model import model
from cli.bench_retrain import retrain
from cli.option import ConfigOption, JsonOption
from orchestrator.configuration import Loaded, load_settings
from orchestrator.logs import log_to_file, terminal_kept_clean
from storage.errors import SettingsError

app = typer.Typer(help="Measure on this machine; ratios are taken in one run.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure on this machine; ratios are taken in one run."""


app.command()(detection)
app.command()(drift)
app.command()(model)
app.command()(retrain)


@app.command()
def pipeline(
    parts: Annotated[int, typer.Option(min=40, help="Parts at full speed; half as many again at half load.")] = 400,
    frame: Annotated[str, typer.Option(help="Size of the camera's colour frames in pixels.")] = "1440x1080",
    rate: Annotated[float, typer.Option(min=0, help="Parts a second for the overhead; 0 is half of full speed.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """The whole line, durable records included, against a bare loop of the same detector on the same frames."""
    from orchestrator.bench_pipeline import FrameSize, bench_pipeline  # Ray: only for a line that runs

    size = FrameSize.parse(frame)
    loaded = demo(load_settings(None, os.environ))
    with tempfile.TemporaryDirectory(prefix="adline-bench-") as temporary:
        home = Path(temporary) / ".adline"
        log_to_file(home / "logs" / "line.jsonl", "line")
        with terminal_kept_clean(home / "logs" / "output.log") as terminal:
            console = Console(file=terminal, quiet=as_json)
            with console.status("starting") as status:
                report = bench_pipeline(replace(loaded, home=home), parts, size, rate, status.update)
    typer.echo(json.dumps(report) if as_json else in_words(report))


@app.command()
def queue(
    clients: Annotated[int, typer.Option(min=1, max=500, help="People who decide at once.")] = 50,
    reviews: Annotated[int, typer.Option(min=1, help="Reviews they decide.")] = 5000,
    rows: Annotated[int, typer.Option(min=0, help="Decided reviews that fill the table first; they stay.")] = 0,
    waiting: Annotated[int, typer.Option(min=0, help="Further open reviews in the table, taken out again.")] = 0,
    seed: Annotated[int, typer.Option(help="Makes who stalls, crashes and is late repeatable.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The labeling queue of the running line under many people at once; exit code 1 when one decision went wrong.

    What it writes stays on record, under a run and a station of its own: history cannot be deleted.
    """
    from orchestrator.bench_queue import bench_queue

    loaded = load_settings(config, os.environ)
    with Console(stderr=True, quiet=as_json).status("starting") as status:
        report = bench_queue(loaded, clients, reviews, rows, waiting, seed, status.update)
    typer.echo(json.dumps(report) if as_json else queue_in_words(report))
    raise typer.Exit(1 if report["double"] or report["foreign"] or report["lost"] else 0)


@app.command()
def page(
    reviews: Annotated[int, typer.Option(min=1, help="Reviews to decide.")] = 100,
    look_seconds: Annotated[float, typer.Option(min=0, help="How long each part is looked at.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Makes what is decided repeatable.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The queue page of the running line in a Chromium, by the keyboard alone; exit code 1 when something went wrong.

    What it decides stays on record, decided by `console`.
    """
    from orchestrator.bench_page import bench_page
    from orchestrator.running import require_line

    line = require_line(load_settings(config, os.environ))
    with Console(stderr=True, quiet=as_json).status("starting") as status:
        report = bench_page(line, reviews, look_seconds, seed, status.update)
    typer.echo(json.dumps(report) if as_json else page_in_words(report))
    raise typer.Exit(1 if went_wrong(report) else 0)


def went_wrong(report: dict[str, Any]) -> bool:
    proposals = report["proposals"]
    return bool(
        report["decided"] < report["reviews"]
        or report["requests_elsewhere"]
        or report["complaints"]
        or proposals["stored"] < proposals["offered"]
    )


def page_in_words(report: dict[str, Any]) -> str:
    response, each, proposals = report["response_ms"], report["seconds_each"], report["proposals"]
    return (
        f"{report['decided']} of {report['reviews']} reviews decided, {each['p50']} s each "
        f"(median), p95 {each['p95']} s\n"
        f"M pressed at {proposals['asked']} parts: a region was proposed at "
        f"{proposals['offered']}, accepted and stored "
        f"at {proposals['stored']}\n"
        f"from key to next part: p50 {response['p50']} ms, p95 {response['p95']} ms, at most {response['max']} ms\n"
        f"{len(report['requests_elsewhere'])} requests to elsewhere, {len(report['complaints'])} errors in the page"
    )


def queue_in_words(report: dict[str, Any]) -> str:
    return (
        f"{report['decided']} of {report['reviews']} reviews decided by {report['clients']} clients in "
        f"{report['seconds']} s: {report['double']} twice, {report['foreign']} under a lease not their own, "
        f"{report['lost']} lost\n{report['expired_returned']} came back after their lease had run out, "
        f"{report['refused']} late or stale requests were refused\n"
        f"claim p50 {report['claim_ms']['p50']} ms, p99 {report['claim_ms']['p99']} ms; by one person alone, without "
        f"a filter, p50 {report['claim_alone_ms']['p50']} ms, p99 {report['claim_alone_ms']['p99']} ms"
    )


def demo(loaded: Loaded) -> Loaded:
    if not loaded.is_demo:
        raise SettingsError(["adline bench pipeline measures the demo line: call it in a folder without adline.toml"])
    return loaded


def in_words(report: dict[str, Any]) -> str:
    overhead = report["overhead_ms"]
    stages = "\n".join(f"  {name:<16} {value:7.2f} ms" for name, value in report["stages_ms"].items())
    return (
        f"{report['frame']}: line {report['pipeline_parts_per_second']} parts/s, bare loop "
        f"{report['bare_parts_per_second']} parts/s: efficiency {report['efficiency']}\n"
        f"at {report['half_load_parts_per_second']} parts/s: overhead p50 {overhead['p50']} ms, "
        f"p99 {overhead['p99']} ms over the bare loop's {report['bare_ms']['half_load']} ms; stages (median):\n{stages}"
    )
