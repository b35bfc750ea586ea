"""groups.csv beside the data: which images show one part.

The column image names an image by its path, or by its name where no other image has it. Of several other columns the
last one counts: they go from the part to what parts have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from storage.errors import DatasetInvalid
from workers.datasets import table
from workers.datasets.sample import Sample
from workers.datasets.table import header, rows

GROUPS: Final = "groups.csv"


def grouped(root: Path, samples: Sequence[Sample]) -> list[Sample]:
    """The samples with their groups; an image that the table leaves out is a group of its own."""
    file = root / GROUPS
    if not file.is_file():
        return list(samples)
    columns = header(file)
    if "image" not in columns or len(columns) < 2:
        raise DatasetInvalid(file, "columns", given=columns, allowed="image and at least one column of groups")
    known = _known(samples)
    groups: dict[str, str] = {}
    for place, row in rows(file):
        path = known.get(row["image"])
        if path is None:
            raise place.wrong("image", row["image"], "the path of an image of the data set, or a name only one has")
        if path in groups:
            raise place.wrong("image", row["image"], "each image once")
        if not row[columns[-1]]:
            raise place.wrong(columns[-1], "", "a group's name")
        groups[path] = row[columns[-1]]
    return [replace(sample, group=groups.get(sample.path)) for sample in samples]


def _known(samples: Sequence[Sample]) -> dict[str, str]:
    """Paths by what the table may call them."""
    names = Counter(Path(sample.path).name for sample in samples)
    by_name = {Path(sample.path).name: sample.path for sample in samples if names[Path(sample.path).name] == 1}
    return by_name | {sample.path: sample.path for sample in samples}


def write(root: Path, samples: Sequence[Sample]) -> None:
    """No file when there are no groups."""
    cells = [(sample.path, sample.group) for sample in samples if sample.group is not None]
    if cells:
        table.write(root / GROUPS, ("image", "group"), cells)
