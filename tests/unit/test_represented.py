"""While a representation is kept, what head and machine learn from is kept with each frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.painted import good_part
from tests.unit.painted_parts import labelled_parts
from workers.datasets.disturbance import drawn
from workers.detectors.detector import Prediction
from workers.detectors.frame_features import Look, Looker
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import seen, stacked
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features
from workers.detectors.registry import load
from workers.detectors.representation import COMPUTED, Representation
from workers.detectors.represented import (
    FrameLessons,
    Represented,
    assembled,
    frame_lessons,
    mirrored_rows,
    represented_anew,
)
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import learned, refit

LOOK = Look(96, local_contrast=True)
SMALL = HeadConfiguration(image_size=96, folds=2, members=2, width=8, epochs=2, least_steps=1, batch_size=16)
PARTS = labelled_parts(12)
GROUPS = [f"part {number}" for number in range(len(PARTS))]


@pytest.fixture(scope="module")
def frames() -> list[Seen]:
    torch.set_num_threads(1)
    looker = Looker(LOOK)
    copies = [looker.features(drawn(part.image, number)) for number, part in enumerate(PARTS)]
    return [replace(seen(part, looker), disturbed=copy) for part, copy in zip(PARTS, copies, strict=True)]


@pytest.fixture(scope="module")
def base() -> PatchCore:
    torch.set_num_threads(1)
    looker, configuration = Looker(LOOK), PatchCoreConfiguration(96, bank_size=50, target_false_reject_rate=0.1)
    return teach_features([looker.features(good_part(number)) for number in range(40)], configuration=configuration)


def kept_of(frames: list[Seen], representation: Representation) -> Represented:
    """One frame after the other, as a cache keeps them."""

    def kept(frame: Seen, part: str) -> FrameLessons:
        assert frame.disturbed is not None
        made = frame_lessons(frame.features, frame.disturbed, part, representation)
        return FrameLessons.of_arrays(made.arrays())

    mirrors = [mirrored_rows(one.mirrored, representation) for one in frames if one.mirrored is not None]
    lessons = [kept(frame, part) for frame, part in zip(frames, GROUPS[: len(frames)], strict=True)]
    return assembled(representation, frames, lessons, mirrors, lambda: [stacked([one.features.s16 for one in frames])])


def test_what_is_kept_of_each_frame_is_what_would_be_made_of_all(frames: list[Seen]) -> None:
    made = represented_anew(frames, GROUPS, LOOK)
    kept = kept_of(frames, made.representation)
    assert made.disturbed is not None and kept.disturbed is not None
    for one, other in ((made.lessons, kept.lessons), (made.disturbed, kept.disturbed)):
        for stage, same in zip(one.stages, other.stages, strict=True):
            assert stage.shape == same.shape and stage.dtype == same.dtype == torch.float16
            assert torch.allclose(stage.float(), same.float(), atol=0.02)
        assert torch.equal(one.coverage, other.coverage) and torch.equal(one.localised, other.localised)
    assert len(made.rows) == 5 * len(frames), "as they are, disturbed, and mirrored in three ways"
    assert torch.allclose(made.rows, kept.rows, atol=1e-2)
    assert torch.allclose(made.held_out, kept.held_out, atol=1e-2)
    assert not torch.allclose(made.held_out, made.rows[: len(frames)], atol=0.1), "whitened without the part"


def test_a_head_on_what_was_kept_says_nearly_what_one_on_features_says(base: PatchCore, frames: list[Seen]) -> None:
    first = refit(base, frames, groups=GROUPS, configuration=SMALL)
    assert first.representation is not None
    scores = np.array([base.score_features([one.features.unpacked()]).anomaly_score for one in frames])
    known = kept_of(frames, first.representation)
    again = learned(base, known, frames, scores, groups=GROUPS, configuration=SMALL)
    assert again.representation is first.representation
    assert np.corrcoef(raw_scores(first), raw_scores(again))[0, 1] > 0.999


def raw_scores(detector: SupervisedDetector) -> list[float]:
    answers = detector.predict([part.image for part in labelled_parts(6, start=7000)])
    return [one.raw_score for one in answers if isinstance(one, Prediction)]


def test_new_frames_are_learned_from_as_the_older_ones_are_represented(base: PatchCore, frames: list[Seen]) -> None:
    older = represented_anew(frames[:20], GROUPS[:20], LOOK)
    known = kept_of(frames, older.representation)
    assert len(known.held_out) == len(frames)
    assert torch.allclose(known.rows[:20], older.rows[:20], atol=1e-2)
    detector = learned(base, known, frames, np.linspace(0, 1, len(frames)), groups=GROUPS, configuration=SMALL)
    assert detector.learned.evidence["good"] + detector.learned.evidence["defective"] == len(frames)  # type: ignore[operator]


def test_a_restored_detector_knows_its_representation_to_the_bit(
    base: PatchCore, frames: list[Seen], tmp_path: Path
) -> None:
    detector = refit(base, frames, groups=GROUPS, configuration=SMALL)
    restored = load(tmp_path / "model", detector.save(tmp_path / "model"))
    assert isinstance(restored, SupervisedDetector)
    assert detector.representation is not None and restored.representation is not None
    assert restored.representation.key == detector.representation.key
    assert restored.version == detector.version
    other = refit(base, frames[:-2], groups=GROUPS[:-2], configuration=SMALL).representation
    assert other is not None and other.key != detector.representation.key


def test_a_model_of_another_version_has_none(base: PatchCore, frames: list[Seen]) -> None:
    """Its frames would be represented otherwise."""
    detector = refit(base, frames, groups=GROUPS, configuration=SMALL)
    assert detector.representation is not None
    tensors = detector.representation.tensors()
    assert Representation.restored(tensors, detector.machine) is not None
    assert Representation.restored({**tensors, COMPUTED: tensors[COMPUTED] + 1}, detector.machine) is None
    assert Representation.restored({}, detector.machine) is None
