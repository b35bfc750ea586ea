"""`adline bench retrain`: a refit from kept features beside one that looks at every frame again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from cli.option import JsonOption
from cli.output import print_json


class Champion(StrEnum):
    """What is retrained."""

    SUPERVISED = "supervised"
    ANOMALYCLIP = "anomalyclip"


def retrain(
    frames: Annotated[int, typer.Option(min=50, help="Labelled solar cells to learn from.")] = 2000,
    frame: Annotated[str, typer.Option(help="Size of the camera's colour frames in pixels.")] = "1440x1080",
    seed: Annotated[int, typer.Option(min=0, help="Which cells, and how they are learned from.")] = 0,
    detector: Annotated[
        Champion,
        typer.Option(
            help="The champion: what labels taught on a PatchCore, or an AnomalyCLIP. Its ViT-B/16 has weights of "
            "noise: the time is that of a real one, and nothing is said of how well it judges. Seconds a frame."
        ),
    ] = Champion.SUPERVISED,
    as_json: JsonOption = False,
) -> None:
    """Retrain twice in one run, on one thread: with nothing kept, and from kept features (extra `demo`)."""
    from orchestrator.bench_pipeline import FrameSize
    from workers.retrain.bench import bench_retrain  # torch: only where it is used
    from workers.retrain.bench_clip import bench_anomalyclip
    from workers.retrain.bench_frames import Pixels

    size = FrameSize.parse(frame)
    bench = bench_anomalyclip if detector is Champion.ANOMALYCLIP else bench_retrain

    def say(step: str) -> None:
        if not as_json:
            typer.echo(step)

    with TemporaryDirectory(prefix="adline-bench-") as folder:
        found = bench(frames, Pixels(size.width, size.height), Path(folder), seed, say)
    if as_json:
        print_json(found)
    else:
        typer.echo(told(found))


def told(found: dict[str, Any]) -> str:
    more = ""
    if "new" in found:
        more += f"; {found['new']['share']:.1%} with {found['new']['frames']} new ones to look at"
    if "memory_anew" in found:
        more += f"; {found['memory_anew']['share']:.1%} where the memory is taught anew"
    clip = f" on {found['clip']}, for the time alone" if "clip" in found else ""
    return (
        f"{found['frames']} frames of {found['frame']}: {found['fresh_seconds']} s with nothing kept, "
        f"{found['cached_seconds']} s from kept features ({found['share']:.1%}{more}; "
        f"{found['cache_bytes'] >> 20} MiB kept){clip}"
    )
