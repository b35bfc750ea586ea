"""Labels flipped at random on real solar cells: most are found and not learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest

from storage.images import decode
from storage.snapshot_models import AsideReason, ItemSource, Split
from workers import elpv
from workers.datasets import quality
from workers.datasets.embedding import Embedder
from workers.datasets.near_duplicates import perceptual_hash
from workers.snapshots.build import Built, build
from workers.snapshots.row import Look, Row

TAUGHT, LABELLED = 120, 200


def seen(cells: Sequence[elpv.Cell], source: ItemSource) -> list[Row]:
    embedder = Embedder()
    rows = []
    for number, cell in enumerate(cells):
        data = cell.path.read_bytes()
        image = decode(data)
        measured = quality.measure(image)
        rows.append(
            Row(
                sha256=hashlib.sha256(data).hexdigest(),
                md5=hashlib.md5(data).hexdigest(),
                size_bytes=len(data),
                media_type="image/png",
                width=image.shape[1],
                height=image.shape[0],
                source=source,
                is_anomaly=cell.probability > 0.5,
                label_id=UUID(int=number) if source is ItemSource.OPERATOR else None,
                decided_by="oracle" if source is ItemSource.OPERATOR else None,
                decided_at=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number),
                look=Look(
                    measured.sharpness,
                    measured.brightness,
                    measured.clipped,
                    perceptual_hash(image),
                    embedder.vector(image).astype(np.float32),
                ),
            )
        )
    return rows


@pytest.fixture(scope="module")
def cells() -> tuple[list[Row], list[Row]]:
    rest = elpv.replayed_cells("mono", shuffled=True, seed=0, taught_cells="mono", taught_count=TAUGHT, taught_seed=0)
    return seen(elpv.taught_cells("mono", TAUGHT, 0), ItemSource.TAUGHT), seen(rest[:LABELLED], ItemSource.OPERATOR)


def built(taught: list[Row], labelled: list[Row]) -> Built:
    return build([*taught, *labelled], name="golden", recipe="elpv-mono", seed=0)


def test_clean_labels_of_experts_are_fit_to_train_from(cells: tuple[list[Row], list[Row]]) -> None:
    found = built(*cells)
    assert found.unfit is None
    assert found.counts["set_aside"].get("unlike_alike", 0) <= 0.15 * LABELLED
    assert "operator_shift" not in found.counts["set_aside"]


def test_most_flipped_labels_are_found_and_not_learned_from(cells: tuple[list[Row], list[Row]]) -> None:
    taught, labelled = cells
    flipped = np.random.default_rng(0).random(LABELLED) < 0.2
    changed = [
        Row(**{**vars(row), "is_anomaly": not row.is_anomaly}) if flip else row
        for row, flip in zip(labelled, flipped, strict=True)
    ]
    found = built(taught, changed)
    doubted = {aside.sha256 for aside in found.asides if aside.reason is AsideReason.UNLIKE_ALIKE}
    wrong = {row.sha256 for row, flip in zip(labelled, flipped, strict=True) if flip}
    assert len(doubted & wrong) >= 0.5 * len(wrong)
    assert len(doubted - wrong) <= 0.15 * LABELLED
    learned = {item.sha256 for item in found.items if item.split is not Split.TEST and item.label_id is not None}
    assert len(learned & wrong) <= 0.6 * len(wrong) / LABELLED * len(learned)
