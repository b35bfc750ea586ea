"""The snapshot a recipe is retrained from: its parts' labels, and the known-good images it is taught from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from storage.database import Database
from storage.image_store import ImageStore
from storage.snapshot_models import DatasetSnapshot
from workers.retrain.known_good import groups_of, known_good
from workers.snapshots.gather import taught_rows
from workers.snapshots.looks import Progress
from workers.snapshots.row import Row
from workers.snapshots.take import Order, quiet, take


def take_snapshot(
    database: Database,
    store: ImageStore,
    recipe: str,
    teach: Mapping[str, Any] | None,
    *,
    by: str,
    description: str = "",
    name: str | None = None,
    progress: Progress = quiet,
    **choices: Any,
) -> DatasetSnapshot:
    """Take and record a snapshot. teach: the recipe's setting of that name; choices: seed, policy, maximum_megapixels.

    Raises NothingToSnapshot without labels, SnapshotRefused for a name that cannot be, TeachingFailed where the
    known-good images are not what the recipe says.
    """
    order = Order(recipe, by, datetime.now(UTC), description, name, **choices)
    return take(database, store, order, known_good_rows(store, recipe, teach), progress)


def known_good_rows(store: ImageStore, recipe: str, teach: Mapping[str, Any] | None) -> list[Row]:
    """None for a recipe that inspects without, or whose model was imported."""
    if teach is None:
        return []
    images = known_good(recipe, teach)
    return taught_rows(store, images, groups_of(recipe, teach, images))
