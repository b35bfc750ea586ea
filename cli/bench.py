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
from cli.option import JsonOption
from orchestrator.configuration import Loaded, load_settings
from orchestrator.logs import log_to_file, terminal_kept_clean
from storage.errors import SettingsError

app = typer.Typer(help="Measure on this machine; ratios are taken in one run.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure on this machine; ratios are taken in one run."""


app.command()(detection)


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
