"""`adline bench retrain`: a refit from kept features beside one that looks at every frame again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from cli.option import JsonOption
from cli.output import print_json


def retrain(
    frames: Annotated[int, typer.Option(min=50, help="Labelled solar cells to learn from.")] = 2000,
    frame: Annotated[str, typer.Option(help="Size of the camera's colour frames in pixels.")] = "1440x1080",
    seed: Annotated[int, typer.Option(min=0, help="Which cells, and how they are learned from.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Retrain twice in one run, on one thread: with nothing kept, and from kept features (extra `demo`)."""
    from orchestrator.bench_pipeline import FrameSize
    from workers.retrain.bench import Pixels, bench_retrain  # torch: only where it is used

    size = FrameSize.parse(frame)

    def say(step: str) -> None:
        if not as_json:
            typer.echo(step)

    with TemporaryDirectory(prefix="adline-bench-") as folder:
        found = bench_retrain(frames, Pixels(size.width, size.height), Path(folder), seed, say)
    if as_json:
        print_json(found)
    else:
        anew = found["memory_anew"]["share"]
        typer.echo(
            f"{found['frames']} frames of {found['frame']}: {found['fresh_seconds']} s with nothing kept, "
            f"{found['cached_seconds']} s from kept features ({found['share']:.1%}; {anew:.1%} where the memory is "
            f"taught anew; {found['cache_bytes'] >> 20} MiB kept)"
        )
