"""Taking a snapshot: from the records and the stored images to an immutable version of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from storage import snapshots
from storage.code_version import code_version
from storage.database import Database
from storage.errors import NothingToSnapshot
from storage.image_store import ImageStore
from storage.snapshot_models import DatasetSnapshot
from workers.snapshots.build import build
from workers.snapshots.division import Protection
from workers.snapshots.gather import gathered, with_look, with_masks
from workers.snapshots.looks import Progress, looks
from workers.snapshots.manifest import manifest, sha256_of
from workers.snapshots.policy import Policy
from workers.snapshots.row import Row


@dataclass(frozen=True)
class Order:
    """What is wanted of a snapshot. name: not given, it is <YYYYMMDD>_V<n>_<description>."""

    recipe: str
    by: str
    day: datetime
    description: str = ""
    name: str | None = None
    seed: int = 0
    policy: Policy = field(default_factory=Policy)
    maximum_megapixels: float = 100


def quiet(_done: int, _all: int) -> None:
    """Nobody looks on."""


def take(
    database: Database, store: ImageStore, order: Order, taught: Sequence[Row], progress: Progress = quiet
) -> DatasetSnapshot:
    """The snapshot as it went on record; NothingToSnapshot when nobody has decided anything."""
    with database.begin() as session:
        if order.name is not None:
            snapshots.check_name(session, order.name)
        known = gathered(snapshots.labelled(session, order.recipe), taught)
        recipes = snapshots.labelled_recipes(session)
    if not any(row.label_id for row in known.rows):
        others = f"; there are of {', '.join(recipes)}" if recipes else ""
        raise NothingToSnapshot(
            f"recipe {order.recipe}: no part has a label that says normal or anomaly{others}. "
            "`adline queue list` shows what waits for one"
        )
    seen = looks(database, store, [row.sha256 for row in known.rows], order.maximum_megapixels, progress)
    rows = [with_look(with_masks(store, row), seen[row.sha256]) for row in known.rows]
    masks = {
        str(region["mask_sha256"]) for row in rows if not row.problem for region in row.regions if region["mask_md5"]
    }
    # What is on record must survive a power cut.
    store.make_durable({row.sha256 for row in rows if row.look is not None} | masks)
    with database.begin() as session:
        snapshots.hold(session)
        if order.name is not None:
            snapshots.check_name(session, order.name)
        name = order.name or snapshots.next_name(session, order.day, order.description or order.recipe)
        parent = snapshots.latest(session, order.recipe)
        challenge = snapshots.challenge(session, order.recipe)
        built = build(
            rows,
            name=name,
            recipe=order.recipe,
            seed=order.seed,
            policy=order.policy,
            protection=Protection(
                pool=snapshots.pool(session, order.recipe),
                challenge={part.part_key for part in challenge},
                trained=snapshots.trained(session, order.recipe),
            ),
            released=snapshots.releases(session, order.recipe),
        )
        snapshot = DatasetSnapshot(
            name=name,
            recipe=order.recipe,
            description=order.description,
            parent=parent.name if parent else None,
            seed=order.seed,
            policy=asdict(order.policy),
            counts=built.counts | {"cannot_tell": known.cannot_tell},
            unfit=built.unfit,
            code_version=code_version(),
            created_by=order.by,
        )
        snapshot.sha256 = sha256_of(manifest(snapshot, built.items, built.asides))
        snapshots.write(session, snapshot, built.items, built.asides, built.pool_keys)
        session.refresh(snapshot)
    return snapshot
