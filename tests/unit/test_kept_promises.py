from __future__ import annotations

from dataclasses import replace

import numpy as np

from workers.datasets.resampling import resampled
from workers.detectors.calibration import calibrate


def test_parts_like_those_calibrated_on_are_rejected_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    calibration = calibrate(random.normal(size=80).tolist(), 0.05, 0.05)
    unseen = {str(number): [score] for number, score in enumerate(random.normal(size=200).tolist())}
    found = resampled(calibration, unseen)
    assert found is not None and found["resamplings"] == 100 and found["inside"] >= 95
    assert resampled(calibration, unseen) == found


def test_several_images_of_a_part_go_together() -> None:
    random = np.random.default_rng(1)
    centres = random.normal(size=120)
    views = centres[:, None] + 0.3 * random.normal(size=(120, 3))
    groups = [str(part) for part in range(40) for _ in range(3)]
    calibration = calibrate(views[:40].ravel().tolist(), 0.1, 0.05, groups)
    unseen = {str(part): views[part].tolist() for part in range(40, 120)}
    found = resampled(calibration, unseen)
    assert found is not None and found["inside"] >= 95


def test_nothing_promised_is_nothing_to_keep() -> None:
    silent = replace(calibrate(range(20), 0.1, 0.05), good_raw_scores=())
    assert resampled(silent, {"part": [1.0]}) is None
