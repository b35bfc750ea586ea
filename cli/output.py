"""How answers are printed: for people, as JSON, as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = dict[str, Any]


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=plain))


def plain(value: Any) -> str:
    """Times with their zone, as every other program writes them; UUIDs and the like as their text."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_csv(columns: Sequence[str], rows: Sequence[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row[column], "") for column in columns] for row in rows)


def print_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As Text: a note such as "[red]" is data, not a style.
        table.add_row(*(Text(cell(row[column], "-")) for column in columns))
    console().print(table)


def console() -> Console:
    """Piped into another program, a line is not cut to the width of a terminal that is not there."""
    found = Console(highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(highlight=False, width=400)


def cell(value: Any, nothing: str) -> str:
    if value is None:
        return nothing
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=plain)
    return f"{value:.4g}" if isinstance(value, float) and nothing else str(value)
