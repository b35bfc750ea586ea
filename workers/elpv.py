"""The ELPV dataset: electroluminescence images of real solar cells, with experts' labels.

Deitsch et al., "Automatic classification of defective photovoltaic module cells in electroluminescence images",
Solar Energy 185 (2019). The experts' probability of a defect is 0, 1/3, 2/3 or 1; between 0 and 1 they were unsure.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from storage.errors import TeachingFailed


@dataclass(frozen=True)
class Cell:
    """One photographed cell and what the experts said of it."""

    path: Path
    defect_probability: float
    kind: str
    """mono or poly: the crystal."""


@cache
def cells(kind: str = "all") -> tuple[Cell, ...]:
    """The cells of a kind (mono, poly, all) as they are listed; their images are read when they are needed."""
    package = find_spec("elpv_dataset")
    if package is None or not package.submodule_search_locations:
        raise TeachingFailed("the ELPV images are not installed: pip install 'adline[demo]'")
    folder = Path(next(iter(package.submodule_search_locations))) / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    found = (Cell(folder / name, float(probability), crystal) for name, probability, crystal in rows)
    return tuple(cell for cell in found if kind in ("all", cell.kind))


def taught_cells(kind: str, count: int, seed: int) -> list[Cell]:
    """The known-good cells a model is taught from, chosen by the seed."""
    good = [cell for cell in cells(kind) if cell.defect_probability == 0]
    if count > len(good):
        raise TeachingFailed(f"recipes.*.teach.count is {count}; there are {len(good)} known-good {kind} cells")
    return random.Random(seed).sample(good, count)


def replayed_cells(kind: str, *, shuffled: bool, seed: int, taught: Sequence[Cell]) -> list[Cell]:
    """The cells that pass the camera: all of a kind but those the model was taught from."""
    known = set(taught)
    passing = [cell for cell in cells(kind) if cell not in known]
    if shuffled:
        random.Random(seed).shuffle(passing)
    return passing
