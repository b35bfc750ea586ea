"""`adline train`: ask for a training run, follow it, cancel it."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any
from uuid import UUID

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator.archive import reading, writing
from orchestrator.configuration import load_settings
from orchestrator.training import run
from storage import training_runs
from storage.training_models import RunState

app = typer.Typer(no_args_is_help=True, help="Training runs: ask for one, list, show and cancel them.")
COLUMNS = ("id", "recipe", "cause", "state", "phase", "requested_at", "snapshot", "candidate", "promoted", "sentence")

RunArgument = Annotated[UUID, typer.Argument(help="The run, as `adline train list` shows it.", metavar="ID")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who; else the name of this account.")]


@app.command("run")
def ask_for_run(
    recipe: Annotated[str | None, typer.Option(help="The recipe to retrain; not needed where there is one.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended; without a line train here.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the recipe's seed.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for a training run; a running line begins it at once, any other at its next start."""
    told = ""

    def say(step: str) -> None:
        nonlocal told
        if step != told and not as_json:
            typer.echo(step)
        told = step

    found = run(load_settings(config, os.environ), recipe, seed, by or getpass.getuser(), wait, say)
    if as_json:
        print_json(found)
    else:
        typer.echo(in_words(found))
    raise typer.Exit(1 if found["state"] in (RunState.FAILED, RunState.CANCELLED) else 0)


@app.command("list")
def list_runs(
    recipe: Annotated[str | None, typer.Option(help="This recipe alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The training runs, the newest first."""
    with reading(load_settings(config, os.environ)) as session:
        found = [training_runs.shown(one) for one in training_runs.listed(session, recipe, limit=limit)]
    if as_json:
        print_json(found)
    elif found:
        print_table(COLUMNS, found)
    else:
        typer.echo("no training run")


@app.command("show")
def show_run(run_id: RunArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One run: what it learned from, what the gate said and by which figures."""
    loaded = load_settings(config, os.environ)
    with reading(loaded) as session:
        found = training_runs.shown(training_runs.find(session, run_id))
    if as_json:
        print_json(found)
    else:
        typer.echo(in_words(found))
        if found["report"]:
            typer.echo(f"report: {loaded.home / found.pop('report')}")
        figures = found.pop("figures")
        print_table(("fact", "value"), [{"fact": name, "value": value} for name, value in {**found, **figures}.items()])


@app.command("cancel")
def cancel_run(
    run_id: RunArgument, by: ByOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Cancel a run that waits, or have one that runs end; its candidate, if any, is not deployed."""
    with writing(load_settings(config, os.environ)) as session:
        found = training_runs.shown(training_runs.cancel(session, run_id, by or getpass.getuser()))
    if as_json:
        print_json(found)
    else:
        typer.echo(in_words(found))


def in_words(run: dict[str, Any]) -> str:
    words = f"run {run['id']} of {run['recipe']}: {run['state'].value}"
    if run["state"] == RunState.RUNNING and run["cancel_asked_at"]:
        return f"{words}, asked to end"
    said = run["error"] or run["sentence"]
    return f"{words}: {said}" if said else words
