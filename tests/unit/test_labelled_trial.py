from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.images import encode
from tests.painted import write_painted
from tests.unit import tiny_weights
from workers.datasets import labelled_trial
from workers.datasets.judging import Teaching
from workers.datasets.read import read
from workers.detectors import registry
from workers.detectors.backbone import BackboneSource
from workers.detectors.detector import Detector
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.patchcore import PatchCore
from workers.detectors.tail_configuration import TailConfiguration

SMALL = HeadConfiguration(image_size=64, folds=2, members=2, width=8, epochs=1, least_steps=1)


def test_a_patchcore_on_a_clip_is_measured_on_it_when_every_label_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    seen: list[str] = []
    teach = registry.teach

    def watched(*arguments: Any, **named: Any) -> Detector:
        detector = teach(*arguments, **named)
        assert isinstance(detector, PatchCore)
        seen.append(detector.eye.backbone.facts()["name"])
        return detector

    monkeypatch.setattr(registry, "teach", watched)
    monkeypatch.setattr(labelled_trial, "FOLDS", 2)
    monkeypatch.setattr(labelled_trial, "SEEDS", 1)
    monkeypatch.setattr(labelled_trial, "HEAD", SMALL)
    tiny_weights.store_clip(tmp_path / "clips")
    source = BackboneSource(tmp_path / "clips", tiny_weights.CLIP)
    dataset = read(write_painted(tmp_path / "painted", taught=60, judged=4))
    teaching, untuned = Teaching("patchcore", 64, 0.3, 0.1, weights=source), TailConfiguration(least_labels=0)
    found = labelled_trial.labelled_trial(dataset, teaching, None, lambda _: None, untuned)
    assert seen == [tiny_weights.CLIP] * 2
    assert found["labels"] is None and 0 <= found["mean"]["image_auroc"] <= 1


def test_a_mask_that_marks_nothing_does_not_tell_where_a_defect_is(tmp_path: Path) -> None:
    dataset = read(write_painted(tmp_path / "painted", taught=2, judged=2))
    sample = next(one for one in dataset.samples if one.is_anomaly and one.mask)
    assert sample.mask is not None
    assert labelled_trial.labelled(dataset, sample).mask is not None
    drawn = dataset.file(sample.mask)
    height, width = labelled_trial.labelled(dataset, sample).image.shape[:2]
    drawn.write_bytes(encode(np.zeros((height, width), np.uint8), "png"))
    found = labelled_trial.labelled(dataset, sample)
    assert found.is_anomaly and found.mask is None
