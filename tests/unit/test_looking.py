"""A frame is decoded and looked at once; what head and machine learn from it is kept, too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from storage.image_store import ImageStore
from storage.images import describe
from storage.snapshot_models import ItemSource, SnapshotItem
from tests.unit.painted_parts import labelled_parts
from workers.detectors.frame_features import Look, Looker
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features
from workers.detectors.representation import Representation
from workers.detectors.represented import Represented
from workers.detectors.summariser import fold_of
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import refit
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.retraining import representation_of

SMALL = HeadConfiguration(image_size=96, folds=2, members=2, width=8, epochs=1, least_steps=1, batch_size=16)
PARTS = labelled_parts(16)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    store = ImageStore(tmp_path_factory.mktemp("images"))
    items = []
    for part in PARTS:
        data = cv2.imencode(".png", part.image)[1].tobytes()
        sha256, facts = store.put(data, describe(data).suffix).sha256, {"source": ItemSource.OPERATOR, "regions": []}
        items.append(SnapshotItem(sha256=sha256, part_key=sha256, is_anomaly=part.is_anomaly, **facts))
    return Material(items, store, 96, 1.0)


@pytest.fixture(scope="module")
def champion(material: Material, tmp_path_factory: pytest.TempPathFactory) -> SupervisedDetector:
    """It knows all images but four."""
    torch.set_num_threads(1)
    looker = Looker(Look(96))
    good = [looker.features(part.image) for part in PARTS if not part.is_anomaly] * 2
    base = teach_features(good, configuration=PatchCoreConfiguration(96, bank_size=50, target_false_reject_rate=0.1))
    older = replace(material, items=material.items[:28])
    looking = Looking(base, older, FeatureCache(tmp_path_factory.mktemp("features"), 1 << 30), "cpu")
    frames = [looking.seen(item) for item in older.items]
    return refit(base, frames, groups=older.groups, configuration=SMALL)


@pytest.fixture
def looking(champion: SupervisedDetector, material: Material, tmp_path: Path) -> Looking:
    return Looking(champion.base, material, FeatureCache(tmp_path / "features", 1 << 30), "cpu")


@pytest.fixture
def representation(champion: SupervisedDetector) -> Representation:
    assert champion.representation is not None
    return champion.representation


def same(one: Represented, other: Represented) -> bool:
    assert one.disturbed is not None and other.disturbed is not None
    tensors = [[*some.lessons.stages, *(some.disturbed or some.lessons).stages, some.rows] for some in (one, other)]
    pairs = zip([*tensors[0], one.held_out], [*tensors[1], other.held_out], strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def nothing_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a frame was looked at")

    monkeypatch.setattr(Looker, "features", refused)
    monkeypatch.setattr(Material, "image", refused)


def test_what_was_kept_is_learned_from_without_a_look_at_frames_or_features(
    looking: Looking, representation: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in looking.material.items:
        looking.look_at(item, representation)
    assert looking.looked == len(PARTS)
    first = looking.represented(looking.material.items, representation)
    nothing_looks(monkeypatch)
    monkeypatch.setattr(Looking, "looked_at", lambda *_: pytest.fail("features were read"))
    monkeypatch.setattr(Looking, "mirrored", lambda *_: None)
    again = Looking(looking.base, looking.material, looking.cache, "cpu")
    for item in again.material.items:
        again.look_at(item, representation)
    assert same(first, again.represented(again.material.items, representation)) and again.looked == 0
    assert [again.said(item) for item in again.material.items] == [looking.said(item) for item in again.material.items]


def test_what_is_lost_or_altered_is_made_again_the_same(looking: Looking, representation: Representation) -> None:
    first = looking.represented(looking.material.items, representation)
    kept = sorted((looking.cache.folder).rglob("*.safetensors"))
    assert len(kept) == 5 * len(PARTS), "features, disturbed ones, mirrored cells and their rows, lessons"
    for number, path in enumerate(kept):
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
    assert same(first, looking.represented(looking.material.items, representation))


def test_features_that_are_used_no_more_but_may_be_wanted_are_not_the_first_to_go(
    looking: Looking, representation: Representation
) -> None:
    """A tail learns from them, and whatever is taught anew."""
    for item in looking.material.items:
        looking.look_at(item, representation)
    features = sorted((looking.cache.folder / looking.look.key).rglob("*.safetensors"))
    for path in features[:3]:
        path.unlink()
    for path in features[3:]:
        os.utime(path, (0, 0))
    again = Looking(looking.base, looking.material, looking.cache, "cpu")
    for item in again.material.items:
        again.look_at(item, representation)
    assert again.looked == 3 and all(path.stat().st_mtime > 0 for path in features)


def test_where_a_defect_is_is_read_once(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = next(item for item in looking.material.items if item.is_anomaly)
    box = [{"kind": "box", "points": [[0, 0], [16, 96]], "mask_sha256": None}]

    def marked(regions: list[dict[str, Any]]) -> SnapshotItem:
        facts = {"width": 96, "height": 96, "regions": regions}
        return SnapshotItem(sha256=plain.sha256, part_key=plain.part_key, is_anomaly=True, **facts)

    first, nothing = looking.covered(marked(box)), looking.covered(marked([]))
    assert first is not None and first[:, 0].min() == 1 and first[:, 2:].max() == 0 and nothing is None
    wider = looking.covered(marked([{**box[0], "points": [[0, 0], [32, 96]]}]))
    assert wider is not None and wider[:, 1].min() == 1
    monkeypatch.setattr(Material, "mask", lambda *_: pytest.fail("it was drawn again"))
    again = looking.covered(marked(box))
    assert again is not None and np.array_equal(again, first)


def test_a_part_of_another_name_is_whitened_without_itself(looking: Looking, representation: Representation) -> None:
    item = looking.material.items[0]
    rows = {}
    for part in ("1", "2", "3", "4", "5", "6", "7", "8"):
        renamed = SnapshotItem(sha256=item.sha256, part_key=part, is_anomaly=item.is_anomaly)
        rows[part] = looking.lessons(renamed, representation).held_out.tobytes()
    assert 1 < len(set(rows.values())) <= 5


def test_tails_learn_from_the_frames_features(looking: Looking, representation: Representation) -> None:
    known = looking.represented(looking.material.items, representation)
    plain, copies = known.activations()
    assert plain.shape == copies.shape == (len(PARTS), 112, 6, 6)
    assert np.array_equal(plain[3].numpy(), looking.features(looking.material.items[3]).s16)
    assert np.array_equal(copies[3].numpy(), looking.disturbed(looking.material.items[3]).s16)


def with_known(material: Material, known: int, images: int) -> Material:
    """So many images, the first of which the champion's representation was learned from."""
    items: Sequence[Any] = [
        SnapshotItem(sha256=f"{number}", part_key=f"part {number}", is_anomaly=False) for number in range(images)
    ]
    return replace(material, items=items, represented={f"{one}": fold_of(f"part {one}") for one in range(known)})


@pytest.mark.parametrize(("images", "kept"), [(28, True), (32, True), (35, True), (36, False)])
def test_a_representation_is_kept_while_four_of_five_images_are_known(
    champion: SupervisedDetector, material: Material, images: int, kept: bool
) -> None:
    found = representation_of(champion, champion.base, with_known(material, 28, images))
    assert (found is champion.representation) if kept else (found is None)


def test_a_representation_is_not_kept_when_an_image_it_knows_is_gone_or_its_part_has_another_fold(
    champion: SupervisedDetector, material: Material
) -> None:
    """What is set aside is forgotten; and a part of another name would be judged by what was learned from it."""
    known = with_known(material, 28, 30)
    assert representation_of(champion, champion.base, known) is champion.representation
    assert representation_of(champion, champion.base, replace(known, items=known.items[1:])) is None
    folds = {**known.represented, "3": (known.represented["3"] + 1) % 5}
    assert representation_of(champion, champion.base, replace(known, represented=folds)) is None
    assert representation_of(champion, champion.base, replace(known, represented={})) is None


def test_one_of_another_look_is_not_kept_and_a_champion_without_a_head_has_none(
    champion: SupervisedDetector, material: Material
) -> None:
    assert isinstance(champion.base, PatchCore)
    other = teach_features(
        [Looker(Look(64)).features(part.image) for part in PARTS if not part.is_anomaly] * 2,
        configuration=PatchCoreConfiguration(64, bank_size=50, target_false_reject_rate=0.1),
    )
    known = with_known(material, 28, 30)
    assert representation_of(champion, other, known) is None
    assert representation_of(champion.base, champion.base, known) is None
