"""The ELPV dataset (extra `demo`): real solar cells in electroluminescence, graded by experts.

Deitsch et al., "Automatic classification of defective photovoltaic module cells in electroluminescence images",
Solar Energy 185 (2019). CC BY-NC-SA 4.0. Only the labels are read here: images are opened one by one by who wants them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from storage.errors import DatasetMissing, TeachingFailed

TYPES = {"mono": ("mono",), "poly": ("poly",), "all": ("mono", "poly")}


@dataclass(frozen=True)
class Cell:
    """One image. The probability that the cell is defective: 0, 1/3, 2/3 or 1; between them the experts were unsure."""

    path: Path
    probability: float
    type: str

    @property
    def good(self) -> bool:
        return self.probability == 0


def cells(kind: str) -> list[Cell]:
    """The cells of this kind (mono, poly or all), in the dataset's order."""
    if kind not in TYPES:
        raise TeachingFailed(f'cells is "{kind}"; allowed: {", ".join(TYPES)}')
    folder = data_folder()
    try:
        lines = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetMissing(f"{folder / 'labels.csv'}: {error.strerror}; {INSTALL}") from error
    found = [cell(folder, line) for line in lines if line.strip()]
    return [one for one in found if one.type in TYPES[kind]]


def cell(folder: Path, line: str) -> Cell:
    """One line of labels.csv, which has blanks between its columns, not commas."""
    path, probability, kind = line.split()
    return Cell(folder / path, float(probability), kind)


@cache
def cells_by_image() -> Mapping[str, Cell]:
    """Every cell by the SHA-256 of its file, as the records know it."""
    return {sha256(one.path.read_bytes()).hexdigest(): one for one in cells("all")}


INSTALL = "install the demo's images with pip install 'adline[demo]'"


def data_folder() -> Path:
    # Found, not imported: the package's own reader wants Pillow and loads all 2,624 images.
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DatasetMissing(f"the ELPV dataset is not installed; {INSTALL}")
    return Path(spec.origin).parent / "data"


def chosen(kind: str, count: int, seed: int) -> list[Cell]:
    """So many known-good cells, drawn at random, always the same for a seed."""
    good = [one for one in cells(kind) if one.good]
    if count > len(good):
        raise TeachingFailed(
            f"{count} known-good {kind} cells are asked for; the dataset has {len(good)}", needed=count, given=len(good)
        )
    return random.Random(seed).sample(good, count)


def taught_cells(kind: str, count: int, seed: int) -> list[Cell]:
    """What a model is taught from: the cells `replayed_cells` leaves out."""
    return chosen(kind, count, seed)


def replayed_cells(
    kind: str,
    *,
    shuffled: bool,
    seed: int,
    taught_cells: str,
    taught_count: int,
    taught_seed: int,
    hidden: AbstractSet[str] = frozenset(),
) -> list[Cell]:
    """The cells of this kind that the model is not taught from, nor one was. hidden: SHA-256s, or names of files."""
    known = {one.path for one in chosen(taught_cells, taught_count, taught_seed)}
    if hidden:
        known |= {one.path for sha256, one in cells_by_image().items() if hidden & {sha256, one.path.name}}
    rest = [one for one in cells(kind) if one.path not in known]
    if shuffled:
        random.Random(seed).shuffle(rest)
    return rest
