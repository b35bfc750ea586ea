"""`adline dataset`: data sets of images with their truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from cli import dataset_snapshot
from cli.option import ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Snapshots of labelled images, and data sets in folders.")
app.command(context_settings={"allow_extra_args": True})(dataset_snapshot.snapshot)
app.command("list")(dataset_snapshot.listed)
app.command()(dataset_snapshot.show)
app.command("import")(dataset_snapshot.bring_in)
app.command()(dataset_snapshot.verify)
app.add_typer(dataset_snapshot.set_aside, name="set-aside")
app.add_typer(dataset_snapshot.challenge, name="challenge")

Folder = Annotated[Path, typer.Argument(help="Folder of the data set: MVTec layout, meta.json, label CSV or COCO.")]

# What reads images is imported inside the commands: `adline --help` must not wait for it.


@app.callback()
def group() -> None:
    """Snapshots of labelled images, and data sets in folders."""


@app.command()
def export(
    data: Annotated[Path, typer.Argument(help="Name of a snapshot, or folder of a data set.", metavar="NAME|FOLDER")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not be there yet.")],
    format: Annotated[
        Literal["mvtec", "meta", "csv"] | None,
        typer.Option(help="Layout to write a folder in, mvtec if not said; a snapshot has both, mvtec and meta."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a snapshot with its images, masks and manifest.json; or the data set of a folder in another layout."""
    if not data.is_dir() and "/" not in str(data) and not data.exists():
        if format == "csv":
            raise typer.BadParameter("a snapshot is written as mvtec with meta.json", param_hint="--format")
        dataset_snapshot.export(str(data), out, config, as_json)
        return
    from workers.datasets.export import export
    from workers.datasets.read import read

    dataset = read(data)
    lost = export(dataset, out, format or "mvtec")
    for sentence in lost:
        typer.echo(f"warning: {sentence}", err=True)
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "images": len(dataset.samples), "left_out": lost}))
    else:
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
