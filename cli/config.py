"""`adline config`: show, check and describe the settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from orchestrator.configuration import Loaded, load_settings
from orchestrator.origin import leaves
from orchestrator.reference import settings_table
from orchestrator.schema import dotted, schema
from storage.errors import SettingsError

app = typer.Typer(help="Show, check and describe the settings.", no_args_is_help=True)


@app.command()
def show(
    config: ConfigOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value came from.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print every setting that counts; passwords are masked."""
    loaded = load_settings(config, os.environ)
    if as_json:
        typer.echo(json.dumps(with_origin(loaded) if origin else loaded.shown(), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(lines(loaded, origin)))


@app.command()
def validate(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the settings and name every problem at once."""
    try:
        loaded = load_settings(config, os.environ)
    except SettingsError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"valid": False, "problems": error.problems}, indent=2, ensure_ascii=False))
        raise typer.Exit(1) from None
    typer.echo(json.dumps({"valid": True, "problems": []}, indent=2) if as_json else f"{summary(loaded)}: valid")


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of adline.toml, for editors."""
    typer.echo(json.dumps(schema(), indent=2, ensure_ascii=False))


@app.command(hidden=True)
def table() -> None:
    """Print the Markdown table of every setting, as it stands in README.md."""
    typer.echo(settings_table(), nl=False)


def values(loaded: Loaded) -> Iterator[tuple[str, Any]]:
    return ((dotted(path), value) for path, value in leaves(loaded.shown()))


def with_origin(loaded: Loaded) -> dict[str, Any]:
    return {path: {"value": value, "origin": loaded.origin[path]} for path, value in values(loaded)}


def lines(loaded: Loaded, origin: bool) -> Iterator[str]:
    yield f"# {summary(loaded)}; state in {loaded.home}"
    for path, value in values(loaded):
        text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
        yield f"{path} = {text}" + (f"  # {loaded.origin[path]}" if origin else "")


def summary(loaded: Loaded) -> str:
    source = str(loaded.path) if loaded.path else "no adline.toml here"
    kind = "the demo line" if loaded.is_demo else f"line {loaded.settings.line.name}"
    stations, recipes = len(loaded.settings.stations), len(loaded.settings.recipes)
    return f"{source}: {kind}, {stations} station{'s' * (stations != 1)}, {recipes} recipe{'s' * (recipes != 1)}"
