"""The `adline` command: exit code 0 is fine, 1 a failed check or an error, 2 wrong usage."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli import audit, bench, config, dataset, db, defect, dlq, drift, model, queue, threshold, train, user
from cli.doctor import doctor
from cli.init import init
from cli.soak import soak
from cli.start import start
from cli.status import status
from cli.stop import stop
from cli.trigger import trigger
from storage.errors import AdlineError

# Without locals in tracebacks: they would show passwords.
app = typer.Typer(
    name="adline",
    help="Runs the visual inspection of a production line.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(init)
app.command()(start)
app.command()(stop)
app.command()(status)
app.command()(trigger)
app.command()(doctor)
app.command()(soak)
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")
app.add_typer(db.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(dlq.app, name="dlq")
app.add_typer(drift.app, name="drift")
app.add_typer(model.app, name="model")
app.add_typer(threshold.app, name="threshold")
app.add_typer(dataset.app, name="dataset")
app.add_typer(user.app, name="user")
app.add_typer(queue.app, name="queue")
app.add_typer(defect.app, name="defect")
app.add_typer(train.app, name="train")


def installed_version() -> str:
    try:
        return version("adline")
    except PackageNotFoundError:
        return "(not installed)"


def print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"adline {installed_version()}")
        raise typer.Exit


@app.callback()
def adline(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Runs the visual inspection of a production line."""


def main() -> None:
    """Run one command; an error that adline foresees is one message, never a traceback."""
    try:
        app()
    except AdlineError as error:
        for line in str(error).splitlines():
            print(f"adline: {line}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
