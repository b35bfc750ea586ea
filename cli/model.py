"""`adline model`: weights into the models folder, and whether a model computes what it should."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli import model_registry
from orchestrator.configuration import load_settings
from storage.errors import AdlineError
from workers.detectors.tolerance import TOLERANCES, Tolerance, in_words

app = typer.Typer(no_args_is_help=True, help="Models: weights, versions, deployments.")
app.add_typer(model_registry.app)

ModelsFolder = Annotated[
    Path | None, typer.Option("--models", help="The models folder; else the one of this folder's line.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

# Torch and open_clip are imported inside the commands: they take seconds, and `adline --help` must not.


@app.callback()
def group() -> None:
    """Models: weights, versions, deployments."""


@app.command()
def conformance(
    case: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A recorded case of the published model.")],
    as_json: AsJson = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option(help=f"{', '.join(TOLERANCES)}.")] = "float32",
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help=f"The largest difference that passes, of every quantity; else {in_words()}."),
    ] = None,
) -> None:
    """Compare this machine's AnomalyCLIP with a recorded case; exit code 1 when a difference is too large."""
    import torch

    from workers.detectors.conformance import measure

    if dtype not in TOLERANCES:
        raise typer.BadParameter(f"given {dtype}, allowed {', '.join(TOLERANCES)}", param_hint="--dtype")
    with _told():
        differences = measure(case, device, getattr(torch, dtype))
    passes = TOLERANCES[dtype] if tolerance is None else Tolerance(tolerance, tolerance)
    beyond = passes.exceeded(differences)
    if as_json:
        # JSON has no infinity; the largest float says as much.
        typer.echo(json.dumps({name: min(value, sys.float_info.max) for name, value in differences.items()}))
    else:
        for name, value in differences.items():
            typer.echo(f"{name:<24} {value:9.2e}{'  beyond the tolerance' if name in beyond else ''}")
    raise typer.Exit(1 if beyond else 0)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="MODEL:TAG of open_clip, such as ViT-L-14-336:openai or ViT-B/32.")],
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch CLIP weights; an interrupted download goes on where it stopped."""
    from workers.detectors import weights

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _told(), Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        stored = weights.pull(
            name, folder_of(models), lambda here, total: progress.update(task, completed=here, total=total)
        )
    _print_stored(stored.name, stored.file, stored.sha256, as_json)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="OpenAI's .pt, open_clip's safetensors, epoch_N.pth, a training's weights.safetensors; "
            "an exported version.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="MODEL:TAG for CLIP weights, any name for prompts.")] = None,
    models: ModelsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Take a file of weights into the models folder, as safetensors with their SHA-256; or an exported version."""
    from orchestrator.model_archive import import_archive, is_archive
    from orchestrator.registry_access import change
    from workers.detectors import weights

    if is_archive(file):
        with _told():
            taken = change(load_settings(None, os.environ), lambda registry: import_archive(registry, file), 0)
        typer.echo(json.dumps(taken) if as_json else f"{taken['id']}: model version of recipe {taken['recipe']}")
        return

    with _told():
        stored = weights.import_file(file, folder_of(models), name)
    _print_stored(stored.name, stored.file, stored.sha256, as_json)


def folder_of(models: Path | None) -> Path:
    """Where the line of this folder keeps its models, unless another is named."""
    return models or load_settings(None, os.environ).home / "models"


def _print_stored(name: str, file: Path, sha256: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"name": name, "file": str(file), "sha256": sha256}))
    else:
        typer.echo(f"{name}: {file}\nSHA-256 {sha256}")


@contextmanager
def _told() -> Iterator[None]:
    """An error of ours is told in a sentence, without a stack trace."""
    try:
        yield
    except AdlineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
