"""Runs whose candidate must never reach the line: each ends with the reason in a sentence, and nothing is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch

from orchestrator.thresholds import Wish, set_thresholds, show
from storage import records
from storage.stream import EventLog
from storage.training_models import Phase, RunState, TrainingRun
from tests.facts import RECIPE, Plant
from tests.integration.school import LABELS, SIDE, School
from tests.integration.test_queue import NORMAL
from tests.integration.test_snapshots import MARKED, texture
from workers.datasets.disturbance import moved
from workers.retrain import steps
from workers.retrain.run import Left, Run

GENEROUS = {
    "least_gain": -1.0,
    "margin": 1.0,
    "class_margin": 1.0,
    "disturbance_margin": 1.0,
    "latency_factor": 1e9,
    "maximum_label_noise": 1.0,
}
"""A gate that lets everything through that is not refused."""
WRONG_FILE = "refused: the candidate's file is not what was trained: "


@pytest.fixture
def school(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[School]:
    threads = torch.get_num_threads()
    found = School(plant, log, tmp_path)
    found.recipe["gate"] = found.recipe["gate"] | GENEROUS
    yield found
    torch.set_num_threads(threads)


def is_refused(school: School, run: TrainingRun, champion: str) -> bool:
    """Ended as refused, with nothing among the models that was not there before, and the champion at its place."""
    assert (run.state, run.error, run.candidate, bool(run.promoted)) == (RunState.DONE, None, None, False)
    assert run.sentence and run.sentence.startswith("refused: ")
    assert school.models() == {row.id for row in school.versions()} == {champion}
    return deployed(school) == champion


def deployed(school: School) -> str:
    with school.database.begin() as session:
        found = records.deployed_model(session, RECIPE)
    assert found is not None
    return found.id


def test_a_candidate_whose_file_was_altered_is_refused_in_whatever_phase_it_is_noticed(school: School) -> None:
    school.teach()
    school.label(range(LABELS))
    champion = deployed(school)
    for phase in (Phase.EVALUATE, Phase.GATE, Phase.DEPLOY):
        with patch.dict(steps.STEPS, {phase: after_altering(phase)}):
            run = school.train()
        assert is_refused(school, run, champion)
        assert run.sentence and run.sentence.startswith(WRONG_FILE) and "weights.safetensors" in run.sentence
        if phase is not Phase.EVALUATE:  # the pool was judged before: figures and page are there, and say the same
            assert (
                run.report
                and run.sentence
                in json.loads((school.home / run.report).with_suffix(".json").read_text())["decision"]["sentence"]
            )


def after_altering(phase: Phase) -> object:
    """The phase, begun after somebody changed a byte of the candidate."""
    step = steps.STEPS[phase]

    def altered(run: Run) -> Left:
        weights = run.checkpoint.candidate / "weights.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        return step(run)

    return altered


def seated(number: int, *, cracked: bool = False, right: float = 0.0) -> bytes:
    """A part in its fixture, seen so many pixels further to the right."""
    surface = cv2.imdecode(np.frombuffer(texture(number), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert surface is not None
    picture = np.asarray(100 + surface // 6, np.uint8)
    cv2.rectangle(picture, (12, 12), (SIDE - 14, SIDE - 16), 235, 2)
    if cracked:
        picture[24:34, 24:34] = 20
    return cv2.imencode(".png", moved(picture, right, 0.0))[1].tobytes()


def label_seated(school: School, numbers: range, right: float = 0.0) -> None:
    for number in numbers:
        cracked = number % 4 == 0
        school.seen(seated(number, cracked=cracked, right=right), part_id=f"P-{number}")
        school.decide("anna", MARKED if cracked else NORMAL)


@pytest.mark.parametrize("before", [40, 0])
def test_a_candidate_trained_on_images_of_a_moved_camera_is_refused(school: School, before: int) -> None:
    """Though a part of the moved ones was drawn into the pool; the gate would have let it through."""
    known = school.home / "known-good"
    known.mkdir()
    for number in range(1000, 1045):
        (known / f"{number}.png").write_bytes(seated(number))
    school.recipe["teach"] = {"kind": "folder", "path": str(known), "groups": None}
    school.teach()
    champion = deployed(school)
    label_seated(school, range(before))
    label_seated(school, range(before, 180), right=5.0)
    run = school.train()
    assert is_refused(school, run, champion)
    assert run.sentence and "not taken as those were that the champion knows (position" in run.sentence
    assert run.report and "5." in run.sentence
    assert run.sentence.split(": ")[-1] in (school.home / run.report).read_text()


def test_a_run_on_labels_of_which_every_fifth_is_wrong_is_refused(school: School) -> None:
    school.teach()
    champion = deployed(school)
    random = np.random.default_rng(0)
    wrong = set(random.permutation(160)[:32].tolist())
    for number in range(160):
        cracked = number % 2 == 0
        score = float((0.7 if cracked else 0.3) + 0.08 * random.standard_normal())
        school.seen(seated(number, cracked=cracked), score, part_id=f"P-{number}")
        school.decide("anna", MARKED if cracked != (number in wrong) else NORMAL)
    run = school.train()
    assert is_refused(school, run, champion)
    assert run.sentence and "not fit to learn from" in run.sentence and "contradicted by the images" in run.sentence


@pytest.mark.parametrize("share", [1e-6, 0.4])
def test_a_pool_without_parts_or_with_good_ones_alone_decides_nothing(school: School, share: float) -> None:
    school.recipe["retrain"] = school.recipe["retrain"] | {"test_share": share}
    school.teach()
    for number in range(40):
        school.label(range(4 * number + 1, 4 * number + 2))
    run = school.train()
    assert (run.state, run.error, run.promoted) == (RunState.DONE, None, False)
    kind = "good" if share < 0.1 else "defective"
    assert run.sentence == f"not yet: the protected pool has 0 {kind} parts; a decision needs at least 5"
    assert run.report and run.sentence in (school.home / run.report).read_text()


def test_the_same_labels_and_seed_give_the_same_decision(school: School) -> None:
    school.recipe["gate"] = school.recipe["gate"] | {"least_gain": 0.99}
    school.teach()
    school.label(range(LABELS))
    first, second = school.train(), school.train()
    assert first.sentence and first.sentence.startswith("not yet: no worse, and not surely better")
    assert second.sentence == first.sentence
    told = [
        {name: figures for name, figures in run.figures["checks"].items() if name != "milliseconds an image"}
        for run in (first, second)
    ]
    assert told[0] == told[1] and len(told[0]) > 8


def test_a_promoted_version_promises_what_it_was_calibrated_to(school: School) -> None:
    """`adline threshold show` and `set` compute from the held-out parts of the version that is deployed now."""
    school.teach()
    school.label(range(LABELS))
    run = school.train()
    assert run.promoted and deployed(school) == run.candidate, run.sentence
    with school.database.begin() as session:
        (shown,) = show(session, RECIPE)
        (row,) = [row for row in school.versions() if row.id == run.candidate]
        assert shown["model_version"] == run.candidate
        assert shown["held_out_good_parts"] == len(row.metrics["calibration"]["good_raw_scores"]) > 0
        assert shown["statement"] == row.metrics["promise"]
        assert shown["target_false_reject_rate"] == school.recipe["target_false_reject_rate"]
        tighter = set_thresholds(session, RECIPE, Wish(false_reject_rate=0.1), "eve", "too many")
    assert tighter["ng_threshold"] >= shown["ng_threshold"] and tighter["target_false_reject_rate"] == 0.1
