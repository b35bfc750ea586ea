"""`adline defect`: the defect book, which operators choose from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator import defects
from orchestrator.configuration import load_settings
from storage.label_models import Severity

app = typer.Typer(help="The defect book: kinds of defects that operators tell apart.", no_args_is_help=True)
SHOWN = ("name", "severity", "version", "retired", "pictures", "written_by", "definition")
NameArgument = Annotated[str, typer.Argument(help="Name of the defect class.", metavar="NAME")]


@app.command("list")
def listed(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The classes as they hold now, in the order of their keys; the first nine have the keys 1-9."""
    found = defects.listed(load_settings(config, os.environ))
    if as_json:
        print_json(found)
    else:
        print_table(SHOWN, [{**entry, "pictures": len(entry["examples"])} for entry in found])


@app.command()
def add(
    name: NameArgument,
    definition: Annotated[str | None, typer.Option(help="How to tell it, and what is not yet it.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="How bad it is for who uses the part.")] = None,
    example: Annotated[
        list[Path] | None,
        typer.Option(help="A picture of it; may be given again.", exists=True, dir_okay=False, readable=True),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Add a class, or write a new version of one: what is not said stays, a retired one is offered again."""
    made = defects.add(load_settings(config, os.environ), name, definition, severity, example or [])
    typer.echo(f"{made['name']}: version {made['version']}, {made['severity']}, {len(made['examples'])} pictures")


@app.command()
def retire(name: NameArgument, config: ConfigOption = None) -> None:
    """Offer a class no longer; labels that name it keep it."""
    made = defects.retire(load_settings(config, os.environ), name)
    typer.echo(f"{made['name']} is no longer offered")
