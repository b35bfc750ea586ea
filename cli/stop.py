"""`adline stop`: end the line that runs in this folder, in order."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli.option import ConfigOption
from orchestrator.configuration import load_settings
from orchestrator.running import end_leftovers, stop_line


def stop(
    config: ConfigOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is gone.")] = 60,
) -> None:
    """Stop the running line and wait until it is gone; what is in flight is recorded first."""
    home = load_settings(config, os.environ).home
    stopped = stop_line(home, wait, typer.echo)
    left = end_leftovers(home)
    typer.echo("the line has stopped" if stopped else f"no line runs in {home}")
    if left:
        typer.echo(f"left behind by a killed run and ended: {', '.join(left)}")
