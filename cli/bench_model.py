"""`adline bench model`: what each detector's forward pass costs beside its bare backbone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from cli.option import JsonOption

# Torch and open_clip are imported inside the command: they take seconds, and `adline --help` must not.


def model(
    rounds: Annotated[int, typer.Option(min=1, help="Times each is called, by turns.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads; an inference worker has one.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Forward cost of each detector, also with what labels or good parts add, against its bare backbone, one image at
    a time, in one run."""
    from workers.detectors.forward_cost import measure_all
    from workers.detectors.registry import use_threads

    use_threads(threads)
    with Console(stderr=True, quiet=as_json).status("measuring"):
        costs = measure_all(rounds)
    if as_json:
        typer.echo(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
        return
    for name, cost in costs.items():
        typer.echo(
            f"{name:<30} {cost.detector_milliseconds:7.1f} ms, bare backbone {cost.bare_milliseconds:7.1f} ms: "
            f"{cost.ratio:.3f} times"
        )
