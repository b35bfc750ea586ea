"""`adline bench drift`: how surely light, focus, position and worse parts are told apart."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

from cli.option import JsonOption
from cli.output import print_json, print_table

LEAST_SHARE = 0.9


def drift(
    cells: Annotated[Literal["mono", "poly", "all"], typer.Option(help="Which solar cells.")] = "mono",
    frames: Annotated[int, typer.Option(min=20, max=400, help="Frames in the reference and in the window.")] = 120,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How often each cause is tried.")] = 20,
    image_size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the detector's input.")] = 256,
    as_json: JsonOption = False,
) -> None:
    """Change light, focus, position or the share of defects of real images; exit code 1 below 90 % right."""
    from workers.datasets.drift_trial import drift_trial  # torch takes seconds to import

    with Console(stderr=True, quiet=as_json).status("reading") as status:
        found = drift_trial(cells, frames=frames, seeds=seeds, image_size=image_size, progress=status.update).record()
    if as_json:
        print_json(found)
    else:
        said = sorted({cause for counts in found["said"].values() for cause in counts})
        print_table(
            ("changed", *said),
            [{"changed": true} | dict.fromkeys(said, 0) | counts for true, counts in found["said"].items()],
        )
    if found["least_right"] < LEAST_SHARE * seeds:
        raise typer.Exit(1)
