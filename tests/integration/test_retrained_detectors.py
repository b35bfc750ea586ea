"""Whatever kind of detector the champion is, a run learns from labels and ends with a candidate of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from storage import records
from storage.model_files import check_model
from storage.stream import EventLog
from storage.training_models import RunState, TrainingRun
from tests.facts import RECIPE, Plant
from tests.integration.school import LABELS, SIDE, School
from tests.unit import tiny_weights
from workers.detectors import anomalyclip_training, training_checkpoint
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.backbone import BackboneSource
from workers.detectors.clip_tower import ClipTower
from workers.detectors.detector import Detector
from workers.detectors.patchcore import PatchCore
from workers.detectors.registry import load
from workers.detectors.supervised import SupervisedDetector
from workers.retrain import prompt_lessons
from workers.retrain.material import Material
from workers.retrain.retraining import one_class
from workers.retrain.run import Run


@pytest.fixture
def school(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[School]:
    threads = torch.get_num_threads()
    yield School(plant, log, tmp_path)
    torch.set_num_threads(threads)


def candidate(school: School, run: TrainingRun) -> Detector:
    """What the run made, as serving would load it."""
    assert (run.state, run.error) == (RunState.DONE, None)
    return candidate_of(school, run)


def candidate_of(school: School, run: TrainingRun) -> Detector:
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


def crown_day_0(school: School) -> AnomalyCLIPDetector:
    tiny_weights.store_clip(school.plan.models)
    tiny_weights.store_prompts(school.plan.models)
    school.recipe.update({"detector": "anomalyclip", "clip": tiny_weights.CLIP, "prompts": tiny_weights.PROMPTS})
    day_0 = AnomalyCLIPDetector.from_folder(
        school.plan.models, tiny_weights.CLIP, tiny_weights.PROMPTS, side_near=SIDE, dpam_layer=2
    )
    school.crown(day_0)
    return day_0


def prompts_of(detector: Detector) -> dict[str, torch.Tensor]:
    """What is learned of them."""
    base = one_class(detector)
    assert isinstance(base, AnomalyCLIPDetector)
    return {name: one.detach() for name, one in base.model.prompt_learner.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_with_labels_enough_an_anomalyclip_champion_s_prompts_are_learned_on(school: School) -> None:
    day_0 = crown_day_0(school)
    before = prompts_of(day_0)
    school.label(range(LABELS))
    untouched = candidate(school, school.train())
    assert same(prompts_of(untouched), before), "fewer labels than retrain.fine_tune_from: they stay as they are"

    school.recipe["retrain"]["fine_tune_from"] = 8
    run = school.train()
    made = candidate(school, run)
    base = one_class(made)
    assert isinstance(base, AnomalyCLIPDetector) and not same(prompts_of(made), before)
    told = base.learned.training
    assert told["recipe"]["epochs"] == told["final"]["epoch"] == prompt_lessons.RECIPE.epochs
    assert run.figures["made"].startswith(f"prompts from {told['samples']} images")
    labels = run.figures["labels"]
    assert 0.4 < told["samples"] / sum(labels[split]["parts"] for split in labels) < 0.6
    assert base.learned.memory is not None and base.calibration.good_raw_scores
    assert made.calibration.target_false_reject_rate == school.recipe["target_false_reject_rate"]


def test_prompts_are_told_by_no_part_that_thresholds_or_head_know(school: School) -> None:
    crown_day_0(school)
    school.recipe["retrain"]["fine_tune_from"] = 8
    school.label(range(LABELS))
    asked: list[Material] = []

    def noted(base: AnomalyCLIPDetector, material: Material, run: Run) -> AnomalyCLIPDetector:
        asked.append(material)
        return learned_on(base, material, run)

    learned_on = prompt_lessons.learned_on
    with patch.object(prompt_lessons, "learned_on", noted):
        run = school.train()
    (lessons,) = asked
    taught = {item.sha256 for item in lessons.items}
    (row,) = [row for row in school.versions() if row.id == run.candidate]
    assert taught and taught.isdisjoint(row.configuration["memory_from"])
    made = candidate(school, run)
    parts = {item.part_key for item in lessons.items}
    assert isinstance(made, SupervisedDetector)
    assert len(made.calibration.good_raw_scores) > 0 and parts.isdisjoint(made.calibration.good_parts)
    assert {item.is_anomaly for item in lessons.items} == {True, False}

    school.recipe["retrain"]["fine_tune_from"] = 0
    with school.database.begin() as session:
        records.deploy(session, RECIPE, row.id, "test", "better")
    later = candidate(school, school.train())
    assert same(prompts_of(later), prompts_of(made))
    assert parts.isdisjoint(later.calibration.good_parts), "nor do they in a run that learns no prompts"


def test_a_run_that_is_killed_while_it_learns_prompts_goes_on_after_its_last_epoch(school: School) -> None:
    crown_day_0(school)
    school.recipe["retrain"]["fine_tune_from"] = 8
    school.label(range(LABELS))
    whole = candidate(school, school.train())
    run_id = school.ask()
    epochs: list[int] = []

    def fail_after_three(run: Run, done: int, total: int, detail: str = "") -> None:
        history = run.checkpoint.prompts
        if detail.startswith("prompts: ") and history.exists() and len(training_checkpoint.history(history)) >= 3:
            raise ConnectionError("the trainer dies")

    with patch.object(Run, "progress", fail_after_three), suppress(ConnectionError):
        school.train(run_id, maximum_attempts=2)
    kept = school.plan.training / str(run_id) / ".prompts"
    assert len(training_checkpoint.history(kept)) == 3
    step = anomalyclip_training._step

    def noted(*arguments: Any) -> list[float]:
        epochs.append(arguments[4])
        return step(*arguments)

    with patch.object(anomalyclip_training, "_step", noted):
        run = school.train(run_id, maximum_attempts=2)
    assert min(epochs) == 4 and max(epochs) == prompt_lessons.RECIPE.epochs
    assert run.state is RunState.DONE
    assert same(prompts_of(candidate_of(school, run)), prompts_of(whole)), "as if nothing had happened"
    assert not kept.exists(), "what was for resuming is gone"


@pytest.mark.parametrize("both", [True, False])
def test_an_anomalyclip_champion_that_knew_no_part_is_retrained(school: School, both: bool) -> None:
    crown_day_0(school)
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
