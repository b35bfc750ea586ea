from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from storage.errors import ImageUnreadable, ModelError, ScoreInvalid, SettingsError, TeachingFailed
from tests.painted import good_part
from tests.unit.kept_bytes import growth
from tests.unit.painted_parts import labelled_parts
from workers.detectors.detector import Detector, Prediction
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import load
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import fit

SMALL = HeadConfiguration(
    image_size=96, folds=3, members=3, width=8, epochs=12, least_steps=1, batch_size=16, worst_share=0.1
)
JUDGED = labelled_parts(20, start=5000)


@pytest.fixture(scope="module")
def base() -> PatchCore:
    torch.set_num_threads(1)
    configuration = PatchCoreConfiguration(image_size=96, bank_size=100, target_false_reject_rate=0.1)
    return teach([good_part(number) for number in range(40)], configuration=configuration, seed=3)


@pytest.fixture(scope="module")
def detector(base: PatchCore) -> SupervisedDetector:
    torch.set_num_threads(1)
    return fit(base, labelled_parts(40), configuration=SMALL, seed=1)


@pytest.fixture(scope="module")
def without_masks(base: PatchCore) -> SupervisedDetector:
    torch.set_num_threads(1)
    return fit(base, labelled_parts(40, masks=False), configuration=SMALL, seed=1)


def scored(detector: Detector, parts: list[Labelled]) -> list[Prediction]:
    answers = detector.predict([one.image for one in parts])
    assert all(isinstance(answer, Prediction) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def auroc(detector: Detector, parts: list[Labelled]) -> float:
    scores = [one.anomaly_score for one in scored(detector, parts)]
    return float(roc_auc_score([one.is_anomaly for one in parts], scores))


def pixel_auroc(detector: Detector, parts: list[Labelled]) -> float:
    """Over the defective parts, each patch by whether most of it is defective."""
    seen, truth = [], []
    for one, answer in zip(parts, scored(detector, parts), strict=True):
        if one.mask is not None:
            side = answer.anomaly_map.shape[0]
            seen.append(answer.anomaly_map.ravel())
            truth.append(one.mask.reshape(side, 96 // side, side, 96 // side).mean((1, 3)).ravel() > 0.5)
    return float(roc_auc_score(np.concatenate(truth), np.concatenate(seen)))


def test_labels_teach_what_a_defect_is_and_what_is_harmless(base: PatchCore, detector: SupervisedDetector) -> None:
    assert auroc(detector, JUDGED) > 0.95 > auroc(base, JUDGED)


def test_good_parts_lie_below_the_threshold_and_defective_ones_above(detector: SupervisedDetector) -> None:
    answers = scored(detector, JUDGED)
    rejected = np.array([one.anomaly_score >= detector.ng_threshold for one in answers])
    defective = np.array([one.is_anomaly for one in JUDGED])
    assert rejected[defective].mean() > 0.8
    assert rejected[~defective].mean() < 0.3
    assert 0 < detector.ok_threshold <= detector.ng_threshold == 0.5


def test_the_probabilities_add_up_and_are_honest(detector: SupervisedDetector) -> None:
    answers = scored(detector, JUDGED)
    assert all(sum(one.probabilities.values()) == pytest.approx(1) for one in answers)
    errors = [(one.probabilities["anomaly"] - part.is_anomaly) ** 2 for one, part in zip(answers, JUDGED, strict=True)]
    assert np.mean(errors) < 0.12


def test_the_probability_rises_with_the_score(detector: SupervisedDetector) -> None:
    answers = sorted(scored(detector, JUDGED), key=lambda one: one.anomaly_score)
    assert [one.probabilities["anomaly"] for one in answers] == sorted(one.probabilities["anomaly"] for one in answers)


def test_the_map_shows_the_defect_better_than_the_one_beneath(base: PatchCore, detector: SupervisedDetector) -> None:
    assert pixel_auroc(detector, JUDGED) > max(0.9, pixel_auroc(base, JUDGED))


def test_masks_improve_the_map(detector: SupervisedDetector, without_masks: SupervisedDetector) -> None:
    assert pixel_auroc(detector, JUDGED) > pixel_auroc(without_masks, JUDGED)


def test_image_labels_alone_are_enough_to_learn_from(base: PatchCore, without_masks: SupervisedDetector) -> None:
    assert auroc(without_masks, JUDGED) > auroc(base, JUDGED)


@pytest.mark.parametrize(("count", "epochs"), [(3, 12), (10, 1), (10, 12)])
def test_few_labels_do_not_make_it_worse(base: PatchCore, count: int, epochs: int) -> None:
    """6 labels, too few good ones to calibrate on; 20 with a head that learned nothing, and with one that did."""
    few = fit(base, labelled_parts(count, masks=False), configuration=replace(SMALL, epochs=epochs), seed=2)
    assert auroc(few, JUDGED) >= auroc(base, JUDGED)


def test_without_a_say_of_the_head_every_decision_is_that_of_the_detector_beneath(base: PatchCore) -> None:
    few = fit(base, labelled_parts(3), configuration=SMALL, seed=2)
    assert not few.learned.fusion.hears_labels and few.calibration.by_turns is base.calibration.by_turns
    for above, below in zip(scored(few, JUDGED), scored(base, JUDGED), strict=True):
        assert (above.anomaly_score >= few.ng_threshold) == (below.anomaly_score >= base.ng_threshold)
        assert (above.anomaly_score >= few.ok_threshold) == (below.anomaly_score >= base.ok_threshold)


def test_a_seed_makes_it_repeatable(base: PatchCore) -> None:
    first, second = (fit(base, labelled_parts(12), configuration=SMALL, seed=4) for _ in range(2))
    assert first.version == second.version
    assert [one.raw_score for one in scored(first, JUDGED)] == [one.raw_score for one in scored(second, JUDGED)]


def test_training_leaves_the_callers_random_numbers_alone(base: PatchCore) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fit(base, labelled_parts(3), configuration=SMALL, seed=4)
    assert torch.equal(torch.rand(3), wanted)


def test_a_restored_detector_gives_the_same_bits(detector: SupervisedDetector, tmp_path: Path) -> None:
    restored = load(tmp_path, detector.save(tmp_path))
    assert isinstance(restored, SupervisedDetector)
    assert restored.version == detector.version
    assert restored.calibration == detector.calibration and restored.calibration.by_turns
    assert restored.learned == detector.learned
    for again, before in zip(scored(restored, JUDGED), scored(detector, JUDGED), strict=True):
        assert again.anomaly_score == before.anomaly_score
        assert again.probabilities == before.probabilities
        assert np.array_equal(again.anomaly_map, before.anomaly_map)


def test_a_score_does_not_depend_on_the_batch(detector: SupervisedDetector) -> None:
    together = scored(detector, JUDGED[:6])
    alone = [scored(detector, [one])[0] for one in JUDGED[:6]]
    assert [one.raw_score for one in together] == [one.raw_score for one in alone]


def test_scoring_keeps_nothing_of_the_batches_it_scored(detector: SupervisedDetector) -> None:
    tensors, others = growth(detector, [one.image for one in JUDGED[:2]])
    assert tensors == 0
    assert others < 22_000, "less than the features of one image, after eighteen more batches"


def test_an_image_that_cannot_be_scored_fails_alone(detector: SupervisedDetector) -> None:
    broken, good = detector.predict([np.zeros((0, 5), np.uint8), good_part(1)])
    assert isinstance(broken, ImageUnreadable)
    assert isinstance(good, Prediction)


def test_a_head_that_gives_no_number_gives_no_verdict(detector: SupervisedDetector, tmp_path: Path) -> None:
    spoilt = load(tmp_path, detector.save(tmp_path))
    assert isinstance(spoilt, SupervisedDetector)
    spoilt.head.gain.fill_(torch.nan)
    (answer,) = spoilt.predict([good_part(1)])
    assert isinstance(answer, ScoreInvalid)


def test_images_the_one_class_detector_knows_train_the_head_alone(base: PatchCore) -> None:
    known = [Labelled(good_part(number), False, is_taught=True) for number in range(40)]
    detector = fit(base, labelled_parts(20) + known, configuration=SMALL, seed=1)
    assert (detector.learned.evidence["good"], detector.learned.evidence["defective"]) == (20, 20)


def test_images_of_one_part_are_never_both_learned_from_and_judged(base: PatchCore) -> None:
    parts = labelled_parts(4)
    with pytest.raises(TeachingFailed, match=r"1 defective parts were given among 8 .* at least 2") as failure:
        fit(base, parts, groups=["bad" if one.is_anomaly else str(n) for n, one in enumerate(parts)])
    assert (failure.value.needed, failure.value.given) == (2, 1)


@pytest.mark.parametrize(("is_anomaly", "what"), [(False, "0 defective"), (True, "0 good")])
def test_one_class_alone_is_refused(base: PatchCore, is_anomaly: bool, what: str) -> None:
    one_class = [one for one in labelled_parts(8) if one.is_anomaly is is_anomaly]
    with pytest.raises(TeachingFailed, match=f"{what} parts were given among 8 labelled images"):
        fit(base, one_class)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            Labelled(good_part(1), True, np.ones((96, 95), np.bool_)),
            r"mask of labelled image 1 is \(96, 95\), its image",
        ),
        (
            Labelled(good_part(1), True, np.zeros((96, 96), np.bool_)),
            "image 1 is defective and its mask marks 0 pixels",
        ),
        (Labelled(good_part(1), False, np.ones((96, 96), np.uint8)), "image 1 is good and its mask marks 9216 pixels"),
        (Labelled(good_part(1), True, np.full((96, 96), np.nan)), "mask of labelled image 1 is float64; allowed"),
        (Labelled(good_part(1), True, is_taught=True), "image 1 is defective and was taught as known-good"),
        (Labelled(np.full((9, 9), np.nan), True), "labelled image 1: the image is float64"),
        (Labelled(np.zeros((9, 0), np.uint8), True), "labelled image 1: the image is uint8 of shape"),
    ],
)
def test_a_label_that_makes_no_sense_is_named(base: PatchCore, wrong: Labelled, words: str) -> None:
    with pytest.raises(TeachingFailed, match=words):
        fit(base, [wrong, *labelled_parts(4)], configuration=SMALL)


def test_as_many_groups_as_images_are_needed(base: PatchCore) -> None:
    with pytest.raises(TeachingFailed, match="16 labelled images were given and 1 groups"):
        fit(base, labelled_parts(8), groups=["a"])


def test_a_wrong_configuration_says_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match=r"head\.epochs: given 0, allowed 1 to 1000"):
        HeadConfiguration(epochs=0)


def test_weights_of_another_shape_are_refused(detector: SupervisedDetector, tmp_path: Path) -> None:
    from workers.detectors import artefact

    saved = artefact.read(tmp_path, detector.save(tmp_path))
    head = {**saved.configuration["head"], "width": 16}
    with pytest.raises(ModelError, match="the head's weights do not fit its configuration"):
        SupervisedDetector.restore(replace(saved, configuration=saved.configuration | {"head": head}))
