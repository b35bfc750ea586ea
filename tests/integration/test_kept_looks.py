"""A run looks at an image once, whatever its champion looks with: what was seen is kept for the runs that follow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from storage.images import Image
from storage.snapshot_models import SnapshotItem
from storage.stream import EventLog
from storage.training_models import Phase, TrainingRun
from tests.facts import Plant
from tests.integration.school import LABELS, School
from tests.integration.test_retrained_detectors import candidate, crown_day_0
from tests.unit import tiny_weights
from workers.detectors.anomalyclip import VisualTower
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.backbone import BackboneSource
from workers.detectors.patchcore import PatchCore
from workers.detectors.supervised import SupervisedDetector
from workers.retrain import steps
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.material import Material
from workers.retrain.retraining import one_class
from workers.retrain.run import Left, Run


@pytest.fixture
def unlabelled(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[School]:
    """Where no candidate replaces the champion."""
    threads = torch.get_num_threads()
    school = School(plant, log, tmp_path)
    school.recipe["gate"]["minimum_good"] = 10_000
    yield school
    torch.set_num_threads(threads)


@pytest.fixture
def school(unlabelled: School) -> School:
    """With an AnomalyCLIP."""
    crown_day_0(unlabelled)
    unlabelled.label(range(LABELS))
    return unlabelled


@contextmanager
def forwards() -> Iterator[Counter[Phase]]:
    """How many images go through a CLIP's visual tower in each phase."""
    counted: Counter[Phase] = Counter()
    under_way: list[Phase] = []
    forward = VisualTower.forward

    def counting(tower: VisualTower, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        counted[under_way[-1]] += len(images)
        return forward(tower, images)

    def entered(phase: Phase, step: Callable[[Run], Left], run: Run) -> Left:
        under_way.append(phase)
        return step(run)

    noted = {phase: partial(entered, phase, step) for phase, step in steps.STEPS.items()}
    with patch.object(VisualTower, "forward", counting), patch.dict(steps.STEPS, noted):
        yield counted


@contextmanager
def decoded() -> Iterator[list[str]]:
    """The images that a run decodes to learn from."""
    found: list[str] = []
    image = Material.image

    def noted(material: Material, item: SnapshotItem) -> Image:
        found.append(item.sha256)
        return image(material, item)

    with patch.object(Material, "image", noted):
        yield found


def parts_of(school: School, run: TrainingRun) -> tuple[AnomalyCLIPDetector, SupervisedDetector]:
    made = candidate(school, run)
    assert isinstance(made, SupervisedDetector) and isinstance(made.base, AnomalyCLIPDetector)
    return made.base, made


def assert_same(school: School, one: TrainingRun, other: TrainingRun) -> None:
    """To the bit."""
    (base, whole), (other_base, other_whole) = parts_of(school, one), parts_of(school, other)
    assert base.version == other_base.version and base.calibration == other_base.calibration
    assert whole.version == other_whole.version and whole.calibration == other_whole.calibration


def clip_files(school: School) -> list[Path]:
    """Of the looks by CLIP alone: the other looks are of more or fewer images."""
    made = school.plan.features
    (folder,) = [place for place in made.iterdir() if b"patches.0" in next(place.rglob("*.safetensors")).read_bytes()]
    return sorted(folder.rglob("*.safetensors"))


def test_a_second_run_looks_at_no_image_and_makes_the_same_model(school: School) -> None:
    with forwards() as first:
        empty = school.train()
    images = empty.figures["features"]["images"]
    assert empty.figures["features"]["looked_at"] == images, "each counts once"
    assert first[Phase.FEATURES] == images == len(clip_files(school)) and first[Phase.FIT] == 0
    with forwards() as second:
        full = school.train()
    assert second[Phase.FEATURES] == second[Phase.FIT] == 0 and second[Phase.EVALUATE] > 0
    assert full.figures["features"] == {"images": images, "looked_at": 0}
    assert_same(school, empty, full)


def test_a_second_run_learns_prompts_on_without_a_look(school: School) -> None:
    school.recipe["retrain"]["fine_tune_from"] = 8
    with forwards() as first, decoded() as early:
        empty = school.train()
    assert first[Phase.FIT] == 0, "nor the first: they were kept while features were made"
    assert len(early) == empty.figures["features"]["images"], "once for all looks"
    with forwards() as second, decoded() as late:
        full = school.train()
    assert second[Phase.FEATURES] == second[Phase.FIT] == 0 and late == []
    assert full.figures["made"].startswith("prompts from ")
    assert_same(school, empty, full)


def test_features_that_are_lost_or_altered_are_made_again(school: School) -> None:
    whole = school.train()
    lost, altered, *_ = clip_files(school)
    lost.unlink()
    data = bytearray(altered.read_bytes())
    data[-1] ^= 1
    altered.write_bytes(data)
    with forwards() as again:
        run = school.train()
    assert again[Phase.FEATURES] == run.figures["features"]["looked_at"] == 2 and again[Phase.FIT] == 0
    assert_same(school, whole, run)


def test_what_a_full_disk_threw_away_is_looked_at_while_it_is_learned(school: School) -> None:
    whole = school.train()

    def all_gone(cache: FeatureCache) -> int:
        for path, _ in (gone := cache.files()):
            path.unlink()
        return len(gone)

    with forwards() as again, patch.object(FeatureCache, "trim", all_gone):
        run = school.train()
    assert again[Phase.FEATURES] == 0 and again[Phase.FIT] == whole.figures["features"]["images"]
    assert_same(school, whole, run)


def crown_on_a_clip(school: School) -> None:
    tiny_weights.store_clip(school.plan.models)
    school.recipe["backbone"] = tiny_weights.CLIP
    school.teach(BackboneSource(school.plan.models, tiny_weights.CLIP))


def crown_tiled(school: School) -> None:
    school.recipe["tiles"] = "2x2"
    school.teach(tiles="2x2")


@pytest.mark.parametrize("crown", [crown_on_a_clip, crown_tiled])
@pytest.mark.parametrize("both", [True, False], ids=["head", "memory"])
def test_a_patchcore_s_own_look_is_kept_as_well(
    unlabelled: School, crown: Callable[[School], None], both: bool
) -> None:
    crown(unlabelled)
    for numbers in [range(LABELS)] if both else [range(good, good + 1) for good in range(1, 160, 4)]:
        unlabelled.label(numbers)
    with decoded() as early:
        empty = unlabelled.train()
    assert len(early) == empty.figures["features"]["images"] == empty.figures["features"]["looked_at"]
    time.sleep(1)  # the second in which it was taught is all that tells the one model from the other
    with decoded() as late:
        full = unlabelled.train()
    assert late == [] and full.figures["features"]["looked_at"] == 0
    one, other = candidate(unlabelled, empty), candidate(unlabelled, full)
    assert isinstance(one_class(one), PatchCore) and isinstance(one, SupervisedDetector) is both
    assert one.version == other.version and one.calibration == other.calibration
    assert one_class(one).version == one_class(other).version
