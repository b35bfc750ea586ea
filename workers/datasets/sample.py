"""A data set in memory: one type, whatever layout it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["train", "test"]

UNNAMED_PRODUCT = "object"
"""The product of a data set that shows one and does not name it."""
UNNAMED_DEFECT = "anomaly"
"""The defect class of an anomaly that has none."""
GOOD = "good"
"""How layouts with a folder or a word for each class call what has no defect."""


@dataclass(frozen=True, order=True)
class Box:
    """A defect's place, in pixels from the top left corner of the upright image."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Sample:
    """One image and what is known of it; paths are relative to the data set's root, with slashes."""

    path: str
    product: str = UNNAMED_PRODUCT
    split: Split | None = None
    is_anomaly: bool | None = None
    defect: str | None = None
    """The defect class of an anomaly; None for what is good or has no label."""
    mask: str | None = None
    """An image of the same size; what is not black is defective."""
    boxes: tuple[Box, ...] = ()
    group: str | None = None
    """Images of one group show one part, or parts that are alike: they must not be split up."""
    note: str = ""

    @property
    def label(self) -> str:
        """The class as a word: a defect class, good, or unlabelled."""
        return self.defect or ("unlabelled" if self.is_anomaly is None else GOOD)

    @property
    def localised(self) -> bool:
        """Whether it is known where the defect is; a good image has none anywhere."""
        return self.is_anomaly is False or self.mask is not None or bool(self.boxes)


@dataclass(frozen=True)
class Dataset:
    """Samples in the order of their paths. Two data sets are equal when their samples are, wherever they lie."""

    root: Path = field(compare=False)
    samples: tuple[Sample, ...]

    def file(self, path: str) -> Path:
        """Where the image or mask of a sample lies."""
        return self.root / path

    def chosen(self, split: Split | None, *, is_anomaly: bool | None) -> list[Sample]:
        """The samples of this split with this label."""
        return [sample for sample in self.samples if sample.split == split and sample.is_anomaly is is_anomaly]
