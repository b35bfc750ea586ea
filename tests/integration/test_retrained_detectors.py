"""Whatever kind of detector the champion is, a run learns from labels and ends with a candidate of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from storage.model_files import check_model
from storage.stream import EventLog
from storage.training_models import RunState, TrainingRun
from tests.facts import Plant
from tests.integration.school import LABELS, SIDE, School
from tests.unit import tiny_weights
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.backbone import BackboneSource
from workers.detectors.clip_tower import ClipTower
from workers.detectors.detector import Detector
from workers.detectors.patchcore import PatchCore
from workers.detectors.registry import load
from workers.retrain.retraining import one_class


@pytest.fixture
def school(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[School]:
    threads = torch.get_num_threads()
    yield School(plant, log, tmp_path)
    torch.set_num_threads(threads)


def candidate(school: School, run: TrainingRun) -> Detector:
    """What the run made, as serving would load it."""
    assert (run.state, run.error) == (RunState.DONE, None)
    (made,) = [row for row in school.versions() if row.id == run.candidate]
    check_model(school.plan.models / made.id, made.sha256)
    return load(school.plan.models / made.id, made.sha256)


def test_a_tiled_champion_is_retrained(school: School) -> None:
    school.recipe["tiles"] = "2x2"
    school.teach(tiles="2x2")
    school.label(range(LABELS))
    made = candidate(school, school.train())
    base = one_class(made)
    assert isinstance(base, PatchCore) and base.configuration.tiles == "2x2"
    assert made.name == "supervised"


def test_a_patchcore_on_a_clip_is_retrained_on_that_clip(school: School) -> None:
    tiny_weights.store_clip(school.plan.models)
    school.recipe["backbone"] = tiny_weights.CLIP
    school.teach(BackboneSource(school.plan.models, tiny_weights.CLIP))
    school.label(range(LABELS))
    made = one_class(candidate(school, school.train()))
    assert isinstance(made, PatchCore) and isinstance(made.eye.backbone, ClipTower)


def test_a_memory_made_anew_is_seen_with_the_champion_s_own_clip(school: School) -> None:
    """Good parts alone: only the memory changes."""
    tiny_weights.store_clip(school.plan.models)
    school.recipe["backbone"] = tiny_weights.CLIP
    school.teach(BackboneSource(school.plan.models, tiny_weights.CLIP))
    for number in range(1, 40):
        school.label(range(4 * number + 1, 4 * number + 2))
    run = school.train()
    made = candidate(school, run)
    assert isinstance(made, PatchCore) and isinstance(made.eye.backbone, ClipTower)
    assert run.sentence and run.sentence.startswith("not yet: the protected pool has 0 defective parts")


@pytest.mark.parametrize("both", [True, False])
def test_an_anomalyclip_champion_that_knew_no_part_is_retrained(school: School, both: bool) -> None:
    tiny_weights.store_clip(school.plan.models)
    tiny_weights.store_prompts(school.plan.models)
    school.recipe.update({"detector": "anomalyclip", "clip": tiny_weights.CLIP, "prompts": tiny_weights.PROMPTS})
    day_0 = AnomalyCLIPDetector.from_folder(
        school.plan.models, tiny_weights.CLIP, tiny_weights.PROMPTS, side_near=SIDE, dpam_layer=2
    )
    school.crown(day_0)
    if both:
        school.label(range(LABELS))
    else:
        for number in range(40):
            school.label(range(4 * number + 1, 4 * number + 2))
    made = candidate(school, school.train())
    base = one_class(made)
    assert isinstance(base, AnomalyCLIPDetector) and base.learned.memory is not None
    assert made.calibration.target_false_reject_rate == school.recipe["target_false_reject_rate"]
    assert (made.name == "supervised") is both
