"""`adline dlq`: events that were set aside (dead letters)."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator.archive import events
from orchestrator.configuration import load_settings
from orchestrator.dead_letters import all_letters, replay, replay_all

app = typer.Typer(help="List and replay the events that were set aside.", no_args_is_help=True)
COLUMNS = ("id", "stream", "group", "deliveries", "set_aside_at", "reason")


@app.command("list")
def list_letters(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the events that were set aside, and why."""
    with events(load_settings(config, os.environ)) as log:
        letters = [asdict(letter) for letter in all_letters(log)]
    if as_json:
        print_json(letters)
    elif letters:
        print_table(COLUMNS, letters)
    else:
        typer.echo("no dead letters")


@app.command("replay")
def replay_letters(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Which ones, as `dlq list` shows them.", metavar="[ID]...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put events back where they came from; a part that has its verdict keeps it."""
    if bool(ids) == every:
        raise typer.BadParameter("give the ids of some, or --all")
    with events(load_settings(config, os.environ)) as log:
        letters = replay_all(log) if every else replay(log, ids or [])
    typer.echo(f"{len(letters)} dead letter{'s' * (len(letters) != 1)} put back")
