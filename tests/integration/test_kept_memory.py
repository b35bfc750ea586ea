"""A run keeps the champion's memory while it knows nearly all good images, and learns the rest from all labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from storage import records
from storage.models import ModelVersion
from storage.stream import EventLog
from storage.training_models import RunState
from tests.facts import RECIPE, Plant
from tests.integration.school import LABELS, School
from workers.detectors.patchcore import PatchCore
from workers.detectors.registry import load
from workers.detectors.supervised import SupervisedDetector


@pytest.fixture
def school(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[School]:
    threads = torch.get_num_threads()
    school = School(plant, log, tmp_path)
    school.teach()
    yield school
    torch.set_num_threads(threads)


def trained(school: School, labels: range) -> tuple[ModelVersion, str, SupervisedDetector]:
    """A run with these labels too: the version it makes, which becomes the champion, and what it says it made."""
    school.label(labels)
    run = school.train()
    assert (run.state, run.error) == (RunState.DONE, None)
    (row,) = [one for one in school.versions() if one.id == run.candidate]
    with school.database.begin() as session:
        records.deploy(session, RECIPE, row.id, "test", "to be retrained")
    detector = load(school.plan.models / row.id, row.sha256)
    assert isinstance(detector, SupervisedDetector)
    return row, str(run.figures["made"]), detector


def test_a_memory_that_knows_nearly_all_is_kept_and_one_that_does_not_is_taught_anew(school: School) -> None:
    first, made, detector = trained(school, range(LABELS))
    known = set(first.configuration["memory_from"])
    assert made.startswith(f"memory of {len(known)} good images; head from")
    assert sorted(first.configuration["memory_scores"].values()) == list(detector.base.calibration.good_raw_scores)

    second, made, kept = trained(school, range(LABELS, LABELS + 2))
    assert made.startswith(f"memory of {len(known)} good images kept; head from")
    assert kept.base.version == detector.base.version and kept.version != detector.version
    assert second.configuration["memory_scores"] == first.configuration["memory_scores"]
    assert detector.representation is not None and kept.representation is not None
    assert kept.representation.key == detector.representation.key

    third, made, anew = trained(school, range(LABELS + 2, LABELS + 40))
    assert isinstance(anew.base, PatchCore) and anew.base.version != detector.base.version
    assert anew.representation is not None and anew.representation.key != detector.representation.key
    assert known < set(third.configuration["memory_from"])
    assert made.startswith(f"memory of {len(third.configuration['memory_from'])} good images; head from")


def test_new_defective_parts_are_learned_without_a_new_good_one(school: School) -> None:
    first, _, _ = trained(school, range(LABELS))
    for number in range(LABELS, LABELS + 24, 4):
        school.label(range(number, number + 1))
    second, made, _ = trained(school, range(0))
    known = first.configuration["memory_from"]
    assert made.startswith(f"memory of {len(known)} good images kept; head from")
    assert second.configuration["memory_from"] == known
