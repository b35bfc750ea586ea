"""A model can be learned again from features that were kept, without the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from storage.errors import TeachingFailed
from tests.painted import good_part
from tests.unit.painted_parts import labelled_parts
from workers.datasets.disturbance import drawn
from workers.detectors.detector import Prediction
from workers.detectors.efficientnet_lite import EfficientNetLite
from workers.detectors.frame_features import FrameFeatures, Look, Looker
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import MIRRORED, mirror, seen
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features, teach_judged
from workers.detectors.represented import mirrored, mirrored_ways
from workers.detectors.summary import cells_of
from workers.detectors.supervised_teaching import teach
from workers.detectors.supervised_training import fit, refit

LOOK = Look(96, local_contrast=True)
SMALL = HeadConfiguration(image_size=96, folds=2, members=2, width=8, epochs=2, least_steps=1, batch_size=16)
CONFIGURATION = PatchCoreConfiguration(image_size=96, bank_size=50, target_false_reject_rate=0.1)
PARTS = labelled_parts(12)


@pytest.fixture(scope="module")
def looker() -> Looker:
    torch.set_num_threads(1)
    return Looker(LOOK)


@pytest.fixture(scope="module")
def base(looker: Looker) -> PatchCore:
    return teach_features([looker.features(good_part(number)) for number in range(40)], configuration=CONFIGURATION)


@pytest.fixture(scope="module")
def kept(looker: Looker) -> list[Seen]:
    return [seen(one, looker) for one in PARTS]


def test_a_refit_from_kept_features_is_the_fit_from_the_images(base: PatchCore, kept: list[Seen]) -> None:
    again, first = refit(base, kept, configuration=SMALL), fit(base, PARTS, configuration=SMALL)
    assert again.version == first.version
    assert again.calibration == first.calibration


def test_a_refit_runs_no_forward_pass(base: PatchCore, kept: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the backbone ran")

    monkeypatch.setattr(EfficientNetLite, "features", refused)
    teach_features([one.features for one in kept if not one.is_anomaly] * 2, configuration=CONFIGURATION)
    refit(base, kept, configuration=SMALL)


def test_serving_runs_the_backbone_once(base: PatchCore, kept: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = refit(base, kept, configuration=SMALL)
    ran, features = [], EfficientNetLite.features

    def counted(backbone: EfficientNetLite, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> object:
        ran.append(backbone)
        return features(backbone, image)

    monkeypatch.setattr(EfficientNetLite, "features", counted)
    (answer,) = detector.predict([PARTS[0].image])
    assert isinstance(answer, Prediction)
    assert len(ran) == 1


def test_features_of_another_look_are_refused(base: PatchCore, kept: list[Seen]) -> None:
    other = Looker(Look(64, local_contrast=True)).features(good_part(1))
    assert LOOK.key not in (Look(64, local_contrast=True).key, Look(96, local_contrast=False).key)
    with pytest.raises(TeachingFailed, match=r"float16 of shape \(40, 8, 8\); allowed at 96 pixels"):
        teach_features([other], configuration=CONFIGURATION)
    halved = FrameFeatures(*(stage.astype(np.float32) for stage in kept[0].features))  # type: ignore[arg-type]
    with pytest.raises(TeachingFailed, match="features are float32"):
        refit(base, [Seen(halved, False), *kept], np.zeros(len(kept) + 1), configuration=SMALL)


def test_scores_must_be_given_where_base_looks_otherwise(base: PatchCore, kept: list[Seen]) -> None:
    plain = HeadConfiguration(image_size=96, local_contrast=False)
    with pytest.raises(TeachingFailed, match="its scores must be given"):
        refit(base, kept, configuration=plain)


def test_tiles_cannot_be_taught_from_features_of_whole_frames(looker: Looker) -> None:
    tiled = PatchCoreConfiguration(image_size=96, tiles="2x2")
    with pytest.raises(TeachingFailed, match='tiles is "2x2", allowed: 1x1'):
        teach_features([looker.features(good_part(1))], configuration=tiled)


def test_all_is_taught_anew_from_kept_features(kept: list[Seen], looker: Looker) -> None:
    frames = [*kept, *(Seen(looker.features(good_part(number)), False, is_taught=True) for number in range(40))]
    detector, raw_scores = teach(frames, base=CONFIGURATION, configuration=SMALL, seed=1)
    assert detector.learned.evidence["good"] == sum(not one.is_anomaly for one in frames)
    assert teach(frames, base=CONFIGURATION, configuration=SMALL, seed=1).detector.version == detector.version
    assert list(raw_scores) == [place for place, one in enumerate(frames) if not one.is_anomaly]
    assert sorted(raw_scores.values()) == list(detector.base.calibration.good_raw_scores)


def test_disturbed_copies_are_learned_from_and_judge_nothing(base: PatchCore, looker: Looker, kept: list[Seen]) -> None:
    copies = [looker.features(drawn(part.image, number)) for number, part in enumerate(PARTS)]
    frames = [replace(one, disturbed=copy) for one, copy in zip(kept, copies, strict=True)]
    plain, robust = (refit(base, some, configuration=SMALL) for some in (kept, frames))
    assert robust.version != plain.version
    assert len(robust.calibration.good_raw_scores) == len(plain.calibration.good_raw_scores)
    (*some, last) = frames
    assert refit(base, [*some, replace(last, disturbed=None)], configuration=SMALL).version == plain.version


def test_mirrored_looks_are_learned_from_and_judge_nothing(base: PatchCore, kept: list[Seen]) -> None:
    """By the machine that sums up a frame; the head mirrors features itself."""
    bare = [replace(one, mirrored=None) for one in kept]
    wise, plain = (refit(base, some, configuration=SMALL) for some in (kept, bare))
    assert wise.version != plain.version
    assert len(wise.calibration.good_raw_scores) == len(plain.calibration.good_raw_scores)
    heads = [one.head.state_dict() for one in (wise, plain)]
    assert all(torch.equal(tensor, heads[1][name]) for name, tensor in heads[0].items())
    assert refit(base, [*kept[:-1], bare[-1]], configuration=SMALL).version == plain.version, "of all or of none"


def test_of_many_frames_fewer_mirrored_looks_are_learned_from(kept: list[Seen], looker: Looker) -> None:
    assert [mirrored_ways(frames, copies=0) for frames in (5000, 4000, 2001, 2000, 1000, 10)] == [0, 0, 0, 1, 3, 3]
    assert [mirrored_ways(frames, copies=1) for frames in (2000, 1334, 1333, 800, 10)] == [0, 0, 1, 3, 3]
    assert [len(mirrored(kept, ways)) for ways in (0, 1, 3)] == [0, 1, 3]
    upside_down = looker.features(mirror(PARTS[4].image, 1))
    expected = cells_of(upside_down.unpacked()).half().float()
    assert torch.equal(mirrored(kept, 2)[1][4], expected), "the second way, of the fifth frame"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_the_ways_to_mirror_an_image_are_all_different(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    seen_so = [mirror(image, way) for way in range(MIRRORED)]
    assert len({one.tobytes() for one in (image, *seen_so)}) == MIRRORED + 1
    assert all(one.shape == shape and one.flags.c_contiguous for one in seen_so)
    assert all(np.array_equal(mirror(one, way), image) for way, one in enumerate(seen_so))


def test_a_drawn_disturbance_changes_an_image_always_in_the_same_way() -> None:
    image = good_part(1)
    for seed in range(20):
        once, again = drawn(image, seed), drawn(image, seed)
        assert np.array_equal(once, again)
        assert (once.shape, once.dtype) == (image.shape, image.dtype)
    assert len({drawn(image, seed).tobytes() for seed in range(20)}) > 15


def test_each_good_part_is_scored_by_a_detector_that_does_not_know_it(kept: list[Seen]) -> None:
    good = [one.features for one in kept if not one.is_anomaly] * 3
    groups = [f"part {number // 2}" for number in range(len(good))]
    found = teach_judged(good, groups=groups, configuration=CONFIGURATION)
    known = [found.detector.score_features([one.unpacked()]).raw_score for one in good]
    assert sorted(found.raw_scores) == list(found.detector.calibration.good_raw_scores)
    assert np.mean(found.raw_scores) > np.mean(known), "what was learned from is closer"
