"""`adline drift`: whether frames and scores still are what they were, and what was done about it."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator.archive import reading, writing
from orchestrator.configuration import load_settings
from storage import drift

app = typer.Typer(no_args_is_help=True, help="Drift: what changed about frames and scores, and who saw to it.")
SHOWN = ("alarm", "raised_at", "station", "camera", "cause", "sentence", "acknowledged_by")
MEASURED = ("measured_at", "station", "camera", "model_version", "frames", "cause", "psi", "ks", "sentence")
Alarm = Annotated[int, typer.Argument(help="Number of the alarm, as list prints it.", min=1, metavar="ALARM")]


@app.command("list")
def listed(
    every: Annotated[bool, typer.Option("--all", help="Acknowledged alarms, too.")] = False,
    measurements: Annotated[bool, typer.Option("--measurements", help="Every comparison instead of alarms.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Alarms that nobody acknowledged, the newest first."""
    with reading(load_settings(config, os.environ)) as session:
        if measurements:
            rows = [{name: getattr(one, name) for name in MEASURED} for one in drift.measurements(session, limit)]
        else:
            rows = drift.alarms(session, every=every, most=limit)
    print_json(rows) if as_json else print_table(MEASURED if measurements else SHOWN, rows)


@app.command()
def show(alarm: Alarm, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One alarm with the figures behind it."""
    with reading(load_settings(config, os.environ)) as session:
        found = drift.alarm_shown(session, alarm)
    print_json(found) if as_json else print_facts(found)


@app.command()
def acknowledge(
    alarm: Alarm,
    reason: Annotated[str, typer.Option(help="What was found, or done.")],
    new_reference: Annotated[
        bool, typer.Option("--new-reference", help="It stays as it is now: compare later frames with those to come.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that an alarm was seen to; automatic retraining goes on."""
    with writing(load_settings(config, os.environ)) as session:
        by = f"console:{getpass.getuser()}"
        found = drift.acknowledge(session, alarm, by, reason, new_reference=new_reference)
    print_json(found) if as_json else typer.echo(f"drift alarm {alarm} is acknowledged by {by}")


def print_facts(found: dict[str, Any]) -> None:
    facts = {name: value for name, value in found.items() if name != "figures"}
    rows = [{"what": name, "is": value} for name, value in {**facts, **found["figures"]}.items()]
    print_table(("what", "is"), rows)
