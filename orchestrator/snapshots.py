"""Dataset snapshots of a line's records, running or not, for commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy.orm import Session

from orchestrator.archive import records
from orchestrator.configuration import Loaded
from orchestrator.recipe import Recipe
from orchestrator.users import console
from storage import snapshots
from storage.database import Database, check_schema
from storage.errors import NotOnRecord, SnapshotRefused
from storage.image_store import SHA256
from storage.images import ImageStore
from storage.snapshot_models import ChallengePart, DatasetSnapshot, SnapshotItem
from storage.snapshots import IMAGE, PART


@contextmanager
def shelf(loaded: Loaded) -> Iterator[tuple[Database, ImageStore]]:
    """The records and the images they name; what is embedded is started for as long as needed, and never made."""
    with records(loaded) as used:
        check_schema(used.database_url)
        database = Database(used.database_url, pool_size=2)
        with closing(database):
            yield database, image_store(loaded)


def image_store(loaded: Loaded) -> ImageStore:
    return ImageStore(loaded.home / "images", loaded.settings.images.minimum_free_megabytes << 20)


def chosen_recipe(loaded: Loaded, given: str | None) -> str:
    """The one that is given, or the only one the line has."""
    used = sorted(loaded.settings.used_recipes)
    if given is None and len(used) == 1:
        return used[0]
    if given is None or given not in loaded.settings.recipes:
        raise SnapshotRefused(f"--recipe: given {given!r}; allowed: {', '.join(sorted(loaded.settings.recipes))}")
    return given


def take(
    loaded: Loaded, recipe: str | None, name: str | None, description: str, seed: int | None, progress: Any
) -> dict[str, Any]:
    """Take a snapshot in the name of who sits at the terminal, by the rules of the recipe's training runs."""
    from workers.retrain.snapshot import take_snapshot  # reads images: `adline --help` must not wait for it
    from workers.snapshots.policy import Policy

    chosen = chosen_recipe(loaded, recipe)
    settings: Recipe = loaded.settings.recipes[chosen]
    with shelf(loaded) as (database, store):
        found = take_snapshot(
            database,
            store,
            chosen,
            settings.teach.model_dump() if settings.teach else None,
            by=console(),
            description=description,
            name=name,
            progress=progress,
            seed=settings.seed if seed is None else seed,
            policy=Policy(test_share=settings.retrain.test_share, doubt=settings.retrain.doubt),
            maximum_megapixels=loaded.settings.images.maximum_megapixels,
        )
        return shown(found)


def shown(snapshot: DatasetSnapshot) -> dict[str, Any]:
    return {column.name: getattr(snapshot, column.name) for column in DatasetSnapshot.__table__.columns}


def items_shown(session: Session, name: str) -> list[dict[str, Any]]:
    columns = [column.name for column in SnapshotItem.__table__.columns if column.name != "snapshot"]
    return [{column: getattr(item, column) for column in columns} for item in snapshots.items(session, name)]


def part_key(part: str) -> str:
    """How snapshots name the part with this serial number, or with an image of this SHA-256."""
    if part.startswith((PART, IMAGE)):
        return part
    return IMAGE + part if SHA256.fullmatch(part) else PART + part


def add_challenge(session: Session, recipe: str, part: str, reason: str) -> dict[str, Any]:
    key = part_key(part)
    if not snapshots.is_recorded(session, key):
        raise NotOnRecord(f"{part}: no inspection on record has this part_id or image")
    return challenge_shown(snapshots.add_challenge(session, recipe, key, console(), reason))


def challenge_shown(part: ChallengePart) -> dict[str, Any]:
    return {name: getattr(part, name) for name in ("recipe", "part_key", "added_at", "added_by", "reason")}
