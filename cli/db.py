"""`adline db`: the schema of the records."""

from __future__ import annotations

import os

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json
from orchestrator.archive import records
from orchestrator.configuration import load_settings
from orchestrator.services import services
from storage.database import head_revision, migrate
from storage.schema import schema_differences

app = typer.Typer(help="Migrate and check the schema of the records.", no_args_is_help=True)


@app.command("migrate")
def migrate_schema(config: ConfigOption = None) -> None:
    """Bring the schema to the version this adline needs; `adline start` does the same."""
    loaded = load_settings(config, os.environ)
    with services(loaded.home, loaded.settings.database.url, stream=False) as used:
        migrate(used.database_url)
    typer.echo(f"the schema is at {head_revision()}")


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Compare the schema with what this adline needs; exit code 1 and every difference when it is another."""
    with records(load_settings(config, os.environ)) as used:
        differences = schema_differences(used.database_url)
    if as_json:
        print_json({"ok": not differences, "revision": head_revision(), "differences": differences})
    else:
        typer.echo("\n".join(differences) or f"the schema is at {head_revision()} and as this version needs it")
    raise typer.Exit(1 if differences else 0)
