"""`adline init`: write a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.configuration import FILE_NAME
from orchestrator.demo import demo_line, example_line
from orchestrator.template import template
from storage.errors import FileInTheWay


def init(
    demo: Annotated[bool, typer.Option("--demo", help="Write the demo line instead of the folder example.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file that is there.")] = False,
) -> None:
    """Write a commented adline.toml with every setting into this folder."""
    path = Path.cwd() / FILE_NAME
    write_new(path, template(demo_line() if demo else example_line()), force)
    typer.echo(f"{path} written; `adline config validate` checks it, `adline start` runs the line")


def write_new(path: Path, text: str, force: bool) -> None:
    """Write the file, but never over one that is there unless that was asked for."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FileInTheWay(path) from None
    except OSError as error:
        raise FileInTheWay(path, f"{path} cannot be written: {error.strerror}") from error
