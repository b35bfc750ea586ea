"""`adline dataset`: data sets of images with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Data sets of images with their truth.")

Folder = Annotated[Path, typer.Argument(help="Folder of the data set: MVTec layout, meta.json, label CSV or COCO.")]

# What reads images is imported inside the commands: `adline --help` must not wait for it.


@app.callback()
def group() -> None:
    """Data sets of images with their truth."""


@app.command()
def export(
    data: Folder,
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not be there yet.")],
    format: Annotated[Literal["mvtec", "meta", "csv"], typer.Option(help="Layout to write.")] = "mvtec",
) -> None:
    """Write a data set in another layout, with groups.csv and COCO's annotations.json where it has groups or boxes."""
    from workers.datasets.export import export
    from workers.datasets.read import read

    dataset = read(data)
    for sentence in export(dataset, out, format):
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(f"{out}: {len(dataset.samples)} images")
