"""A small plant to run a line in: real solar cells in folders, a configuration, and what is on record."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

from workers.elpv import cells

TAUGHT = 16
RECIPE = """
[images]
minimum_free_megabytes = 0

[recipes.cells]
image_size = 64
target_false_reject_rate = 0.4
review_share = 0.1
teach = { kind = "folder", path = "known-good" }
"""
"""The fewest pixels and known-good parts: what is tested is the line."""


def station(name: str, folder: str, trigger: dict[str, Any], mode: str = "") -> str:
    options = {"name": "top", "kind": "folder", "path": folder} | ({mode: True} if mode else {})
    return (
        f"\n[[stations]]\nname = {json.dumps(name)}\nrecipe = 'cells'\n"
        f"cameras = [{inline(options)}]\ntrigger = {inline(trigger)}\n"
    )


def inline(table: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


def plant(folder: Path, *stations: str) -> Path:
    """The folder with its configuration and known-good parts."""
    good = [cell.path for cell in cells("mono") if cell.good]
    fill(folder / "known-good", good[:TAUGHT])
    (folder / "adline.toml").write_text(RECIPE + "".join(stations))
    return folder


def unseen(count: int) -> list[Path]:
    """Cells that the plant's model was not taught from."""
    return [cell.path for cell in cells("poly")][:count]


def fill(folder: Path, images: list[Path]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        shutil.copy(image, folder / image.name)
    return folder


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()
