"""`adline dataset`: data sets of images with their truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from cli.option import JsonOption

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


@app.command()
def profile(
    data: Folder,
    out: Annotated[
        Path | None, typer.Option(help="Write the images in question and a scatter plot as one page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count a data set and look for duplicates, blurred and badly exposed images, outliers, and leaks into test."""
    from workers.datasets.profile import profile, summary
    from workers.datasets.profile_page import profile_page
    from workers.datasets.read import read

    with Console(stderr=True, quiet=as_json).status("reading") as status:
        found = profile(read(data), status.update)
        if out is not None:
            out.write_text(profile_page(found), encoding="utf-8")
    told = summary(found)
    typer.echo(json.dumps(told) if as_json else in_words(told))


def in_words(told: dict[str, Any]) -> str:
    counted = (
        f"  {split}: {', '.join(f'{count} {label}' for label, count in found.items())}"
        for split, found in told["counts"].items()
    )
    lists = ("equal_files", "near_duplicates", "blurred", "misexposed", "outliers")
    return "\n".join(
        [
            f"{told['images']} images, {told['with_mask']} with a mask, {told['with_boxes']} with boxes, "
            f"{told['groups']} groups",
            *counted,
            *(f"{name.replace('_', ' ')}: {len(told[name])}" for name in lists),
            *(f"warning: {warning}" for warning in told["warnings"]),
        ]
    )
