from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from tests.painted import good_part
from tests.unit.painted_parts import labelled_parts
from workers.datasets.crossvalidation import (
    CrossValidation,
    anew,
    answer,
    cross_validate,
    some_known,
    unsure_of,
)
from workers.detectors.detector import Detector
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach

SMALL = HeadConfiguration(image_size=96, folds=2, members=2, width=8, epochs=2, least_steps=1, batch_size=16)
PARTS = labelled_parts(16) + [Labelled(good_part(number), False) for number in range(76)]
GROUPS = [f"part {number}" for number in range(len(PARTS))]


class Watched:
    """Teaches a real one-class detector and remembers from what."""

    def __init__(self) -> None:
        self.taught_from: list[list[str]] = []

    def __call__(self, known: Sequence[Labelled], groups: Sequence[str], seed: int) -> Detector:
        assert not any(one.is_anomaly for one in known)
        self.taught_from.append(list(groups))
        configuration = PatchCoreConfiguration(image_size=96, bank_size=20, target_false_reject_rate=0.1)
        return teach([one.image for one in known], groups=groups, configuration=configuration, seed=seed)


def test_figures_come_with_their_mean_and_spread_for_each_fold_of_each_seed() -> None:
    torch.set_num_threads(1)
    teacher = Watched()
    said: list[str] = []
    learn = some_known(PARTS, GROUPS, teacher, configuration=SMALL)
    found = cross_validate(PARTS, GROUPS, learn, count=2, seeds=(0, 1), progress=said.append)
    assert len(found.folds) == len(teacher.taught_from) == 4
    assert said[0] == "seed 0, fold 1 of 2"
    areas = [one["image_auroc"] for one in found.folds]
    assert found.mean()["image_auroc"] == pytest.approx(sum(areas) / 4)
    assert min(areas) <= found.mean()["image_auroc"] <= max(areas)
    assert found.spread()["image_auroc"] >= 0
    assert {"f1", "f1_best", "false_reject_rate_at_ng_threshold", "pixel_auroc", "image_auroc_one_class"} <= set(
        areas_of(found.folds[0])
    )


def areas_of(figures: dict[str, float]) -> list[str]:
    assert all(0 <= value <= 1 for value in figures.values())
    return list(figures)


def test_pixels_are_not_judged_where_a_mask_is_missing() -> None:
    torch.set_num_threads(1)
    without = [Labelled(one.image, one.is_anomaly) for one in PARTS]
    learn = some_known(without, GROUPS, Watched(), labels=20, configuration=SMALL)
    found = cross_validate(without, GROUPS, learn, count=2, seeds=(0,))
    assert "pixel_auroc" not in found.mean()


def test_one_missing_mask_leaves_the_pixels_of_the_others_to_judge() -> None:
    torch.set_num_threads(1)
    place = next(place for place, one in enumerate(PARTS) if one.is_anomaly)
    parts = [*PARTS[:place], Labelled(PARTS[place].image, True), *PARTS[place + 1 :]]
    learn = some_known(parts, GROUPS, Watched(), labels=20, configuration=SMALL)
    found = cross_validate(parts, GROUPS, learn, count=2, seeds=(0,))
    assert all(0 <= one["pixel_auroc"] <= 1 for one in found.folds)


def test_a_figure_that_not_every_fold_has_is_the_mean_of_those_that_have_it() -> None:
    found = CrossValidation([{"f1": 0.5, "pixel_auroc": 0.9}, {"f1": 0.7}])
    assert found.mean() == pytest.approx({"f1": 0.6, "pixel_auroc": 0.9})
    assert found.spread() == pytest.approx({"f1": 0.1, "pixel_auroc": 0.0})


def test_when_every_label_is_told_all_good_parts_teach() -> None:
    torch.set_num_threads(1)
    configuration = PatchCoreConfiguration(image_size=96, bank_size=20, target_false_reject_rate=0.1)
    learn = anew(PARTS, GROUPS, configuration, configuration=SMALL)
    everything = range(len(PARTS))
    assert learn(everything, 0).learned.evidence["good"] == sum(not one.is_anomaly for one in PARTS)
    found = cross_validate(PARTS, GROUPS, learn, count=2, seeds=(0,))
    assert found.mean()["image_auroc"] > 0.7


@pytest.mark.parametrize("asked", [False, True])
def test_with_some_labels_the_good_parts_among_them_teach_as_well(asked: bool) -> None:
    torch.set_num_threads(1)
    configuration = PatchCoreConfiguration(image_size=96, bank_size=20, target_false_reject_rate=0.1)
    learn = anew(PARTS, GROUPS, configuration, 20, SMALL, asked=asked)
    everything = range(len(PARTS))
    taught = learn(everything, 0).learned.evidence
    good, defective = int(taught["good"] or 0), int(taught["defective"] or 0)
    known = sum(not one.is_anomaly for one in PARTS) // 2
    assert good + defective == known + 20
    assert good > known and defective > 0, "labels of both kinds were told"


def test_those_asked_about_are_among_the_nearest_to_the_ok_threshold() -> None:
    torch.set_num_threads(1)
    base = Watched()([Labelled(good_part(number), False) for number in range(100, 140)], GROUPS[:40], 0)
    places = list(range(len(PARTS)))[1::2]
    chosen = unsure_of(base, PARTS, places, 5)
    away = {place: abs(answer(base, PARTS[place]).anomaly_score - base.ok_threshold) for place in places}
    assert len(set(chosen)) == 5
    assert set(chosen) <= set(sorted(places, key=away.__getitem__)[:15])
