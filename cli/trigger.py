"""`adline trigger`: tell the running line that a part is in place."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json
from orchestrator.configuration import load_settings
from orchestrator.running import RunningLine, require_line
from storage.errors import LineSilent


def trigger(
    station: Annotated[str, typer.Argument(help="Station where the part is.")],
    part: Annotated[str | None, typer.Option("--part", help="Serial number of the part.", metavar="ID")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Kind of part.")] = None,
    lot: Annotated[str | None, typer.Option("--lot", help="Batch the part belongs to.")] = None,
    wait: Annotated[float | None, typer.Option("--wait", min=0, help="Wait so many seconds for the verdict.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell that a part is in place; with --wait, print its verdict."""
    line = require_line(load_settings(config, os.environ))
    taken = line.trigger(station, {"part_id": part, "product": product, "lot": lot})
    told = taken if wait is None else awaited(line, taken, wait)
    if as_json:
        print_json(told)
    else:
        typer.echo(in_words(told))


def awaited(line: RunningLine, taken: dict[str, Any], wait_seconds: float) -> dict[str, Any]:
    """The trigger with the verdict it led to; LineSilent when there is none in time."""
    views = line.verdict(taken["inspection_id"], wait_seconds)
    if views is None:
        raise LineSilent(f"inspection {taken['inspection_id']}: no verdict on record after {wait_seconds:g} s")
    scores = [view["anomaly_score"] for view in views if view["anomaly_score"] is not None]
    first = views[0]
    return {
        **taken,
        "verdict": first["verdict"],
        "reason": first["reason"],
        "anomaly_score": max(scores, default=None),
        "model_version": first["model_version"],
        "recorded_at": first["recorded_at"],
    }


def in_words(told: dict[str, Any]) -> str:
    if "verdict" not in told:
        return f"{told['station']}: trigger {told['trigger_number']}, inspection {told['inspection_id']}"
    score = "" if told["anomaly_score"] is None else f" {told['anomaly_score']:.3f}"
    return f"{told['verdict']}{score}: {told['reason']} (inspection {told['inspection_id']})"
