"""Which score a frame has while the champion's memory is kept."""

from __future__ import annotations

import cv2
import pytest

from storage.image_store import ImageStore
from storage.images import describe
from storage.snapshot_models import ItemSource, SnapshotItem
from tests.painted import good_part
from workers.detectors.calibration import score_of
from workers.detectors.frame_features import Look, Looker
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_judged
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material

CONFIGURATION = PatchCoreConfiguration(image_size=96, bank_size=50, target_false_reject_rate=0.2)
KNOWN = 24


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Looking:
    """A memory of good parts, one of them odd, and two known-good images that it does not know."""
    folder = tmp_path_factory.mktemp("memory")
    store, looker = ImageStore(folder / "images"), Looker(Look(96))
    images = [good_part(number) for number in range(KNOWN + 2)]
    cv2.circle(images[3], (40, 40), 12, 255, -1)
    items = [stored(store, cv2.imencode(".png", image)[1].tobytes()) for image in images]
    memory, raw_scores = teach_judged([looker.features(image) for image in images[:KNOWN]], configuration=CONFIGURATION)
    known = {item.sha256: raw for item, raw in zip(items, raw_scores, strict=False)}
    material = Material(items, store, 96, 1.0, frozenset(known), known)
    return Looking(memory, material, FeatureCache(folder / "features", 1 << 30), "cpu")


def stored(store: ImageStore, data: bytes) -> SnapshotItem:
    kept = store.put(data, describe(data).suffix)
    return SnapshotItem(sha256=kept.sha256, part_key=kept.sha256, is_anomaly=False, source=ItemSource.TAUGHT)


def test_what_a_memory_knows_keeps_the_score_of_those_that_did_not_know_it(looking: Looking) -> None:
    assert isinstance(looking.base, PatchCore)
    scores = [looking.score_by_memory(item) for item in looking.material.items]
    wanted = [score_of(looking.base.calibration, raw) for raw in looking.material.raw_scores.values()]
    assert scores[:KNOWN] == wanted
    assert scores.index(max(scores)) == 3, "each has its own"


def test_what_it_does_not_know_is_judged_by_it_whoever_said_that_it_is_good(looking: Looking) -> None:
    assert isinstance(looking.base, PatchCore)
    unknown = looking.material.items[KNOWN:]
    said = [looking.base.score_features([looking.features(item).unpacked()]).anomaly_score for item in unknown]
    assert [looking.score_by_memory(item) for item in unknown] == said and min(said) > 0
