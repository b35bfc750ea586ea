"""Looking at images once: how sharp and bright they are, what they show to the eye and to the detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from storage import image_looks
from storage.database import Database
from storage.errors import AdlineError, ImageSizeRefused, ImageUnreadable
from storage.images import ImageStore, decode
from storage.snapshot_models import ImageLook
from workers.datasets import quality
from workers.datasets.embedding import Embedder
from workers.datasets.near_duplicates import perceptual_hash
from workers.snapshots.row import Look

METHOD: Final = "lite0-256-1"
"""Change it when anything below measures otherwise."""
AT_ONCE: Final = 64  # images between two writes: a killed run has lost no more
Progress = Callable[[int, int], None]


def looks(
    database: Database, store: ImageStore, sha256s: Iterable[str], maximum_megapixels: float, progress: Progress
) -> dict[str, Look | str]:
    """What each image looks like, or why it cannot be looked at."""
    wanted = sorted(set(sha256s))
    with database.begin() as session:
        found = {row.sha256: told(row) for row in image_looks.known(session, METHOD, wanted)}
    missing = [sha256 for sha256 in wanted if sha256 not in found]
    embedder = Embedder() if missing else None
    for start in range(0, len(missing), AT_ONCE):
        measured = []
        for number, sha256 in enumerate(missing[start : start + AT_ONCE], start=start):
            progress(number, len(missing))
            assert embedder is not None
            measured.append(measure(store, sha256, embedder, maximum_megapixels))
        # A file that is not there now may be restored: only what lies in the image itself is remembered.
        kept = [row for row in measured if not row.pop("passing")]
        with database.begin() as session:
            image_looks.record(session, kept)
        found |= {row["sha256"]: told(ImageLook(**row)) for row in measured}
    return found


def measure(store: ImageStore, sha256: str, embedder: Embedder, maximum_megapixels: float) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("sharpness", "brightness", "clipped", "perceptual_hash", "embedding", "problem")
    )
    row |= {"sha256": sha256, "method": METHOD, "passing": False}
    try:
        image = decode(store.get(sha256), minimum_side=embedder.image_size, maximum_megapixels=maximum_megapixels)
        measured = quality.measure(image)
        return row | {
            "sharpness": measured.sharpness,
            "brightness": measured.brightness,
            "clipped": measured.clipped,
            "perceptual_hash": f"{perceptual_hash(image):016x}",
            "embedding": embedder.vector(image).astype("<f4").tobytes(),
        }
    except AdlineError as error:
        return row | {"problem": str(error), "passing": not isinstance(error, ImageUnreadable | ImageSizeRefused)}


def told(row: ImageLook) -> Look | str:
    if row.embedding is None:
        return str(row.problem)
    return Look(
        sharpness=float(row.sharpness or 0),
        brightness=float(row.brightness or 0),
        clipped=float(row.clipped or 0),
        perceptual_hash=int(row.perceptual_hash or "0", 16),
        embedding=np.frombuffer(row.embedding, "<f4"),
    )
