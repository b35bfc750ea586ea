"""Write a data set in another layout; read back, it is the same data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import FileInTheWay
from workers.datasets import coco, groups, label_csv, meta, mvtec
from workers.datasets.files import Place
from workers.datasets.sample import Dataset, Sample

Write = Callable[[Path, Sequence[Sample]], None]


@dataclass(frozen=True)
class Layout:
    """How a format places images, what tables it writes, and what it has no place for."""

    placed: Callable[[Dataset], Sequence[Sample]]
    tables: tuple[Write, ...]
    needs_labels: bool
    """Each image has a split and a label; and notes are lost."""


def where_they_are(dataset: Dataset) -> Sequence[Sample]:
    return dataset.samples


LAYOUTS: Final = {
    "mvtec": Layout(mvtec.placed, (), needs_labels=True),
    "meta": Layout(where_they_are, (meta.write,), needs_labels=True),
    "csv": Layout(where_they_are, (label_csv.write,), needs_labels=False),
}
BESIDE: Final[tuple[Write, ...]] = (groups.write, coco.write)
"""Tables that stand beside every layout, where there is something to write in them."""


def export(dataset: Dataset, out: Path, format: str) -> list[str]:
    """Copy the images and write the tables; return a sentence for each thing the format has no place for.

    Groups and boxes go into groups.csv and annotations.json in every format. The folder appears whole or not at all.
    """
    layout = LAYOUTS[format]
    if out.exists():
        raise FileInTheWay(out, f"{out} is already there; name a folder that is not")
    if layout.needs_labels:
        check_labelled(dataset, format)
    samples = layout.placed(dataset)
    files = sources(dataset, samples)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by an export that was interrupted
    for target, source in files.items():
        copy(source, partial / target)
    for write in (*layout.tables, *BESIDE):
        write(partial, samples)
    partial.rename(out)
    return lost(dataset) if layout.needs_labels else []


def check_labelled(dataset: Dataset, format: str) -> None:
    for sample in dataset.samples:
        for what, given, allowed in (
            ("label", sample.is_anomaly, "normal or anomaly"),
            ("split", sample.split, "train or test"),
        ):
            if given is None:
                raise Place(dataset.file(sample.path)).wrong(what, None, f"{allowed}, for the format {format}")


def sources(dataset: Dataset, samples: Sequence[Sample]) -> dict[str, Path]:
    """Which file goes to which path; a mask may belong to several images."""
    found: dict[str, Path] = {}
    for before, after in zip(dataset.samples, samples, strict=True):
        for path, target in ((before.path, after.path), (before.mask, after.mask)):
            if path is None or target is None:
                continue
            source = dataset.file(path)
            if found.setdefault(target, source) != source:
                raise Place(source).wrong("name", target, f"a name that {found[target]} does not need")
    return found


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def lost(dataset: Dataset) -> list[str]:
    notes = sum(bool(sample.note) for sample in dataset.samples)
    return [f"{notes} descriptions were left out: the format has no place for them"] if notes else []
