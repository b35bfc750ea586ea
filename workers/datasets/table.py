"""CSV files with a header, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from storage.errors import DatasetInvalid
from workers.datasets.files import Place, text

Row = dict[str, str]


def header(file: Path) -> list[str]:
    """The columns' names; none when the file is empty."""
    return next(_lines(file), (0, []))[1]


def rows(file: Path) -> Iterator[tuple[Place, Row]]:
    """Each row with its place, counted as an editor counts lines; empty lines are left out."""
    lines = _lines(file)
    columns = next(lines, (0, []))[1]
    for number, cells in lines:
        place = Place(file, number)
        if len(cells) != len(columns):
            raise place.wrong("row", f"{len(cells)} cells", f"{len(columns)}: {', '.join(columns)}")
        yield place, dict(zip(columns, cells, strict=True))


def write(file: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text(file), newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DatasetInvalid(
            file, "CSV", row=reader.line_num, given=str(error), allowed="comma-separated values"
        ) from error
