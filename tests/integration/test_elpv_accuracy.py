"""The figure that is promised for real parts: one-class on ELPV's mono cells, judged on cells the model never saw."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score

from storage.images import decode
from workers import elpv
from workers.datasets.resampling import resampled
from workers.detectors.calibration import calibrate, false_rejects_to_come, observed_interval
from workers.detectors.detector import Prediction
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import use_threads

TAUGHT, SEED = 400, 0


@pytest.fixture(scope="module")
def detector() -> PatchCore:
    use_threads(2)
    images = (decode(cell.path.read_bytes()) for cell in elpv.taught_cells("mono", TAUGHT, SEED))
    return teach(images, configuration=PatchCoreConfiguration(), seed=SEED)


@pytest.fixture(scope="module")
def judged(detector: PatchCore) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw scores, and whether the cell is defective; cells the experts were unsure of have no truth to judge by."""
    use_threads(1)
    cells = elpv.replayed_cells(
        "mono", shuffled=False, seed=0, taught_cells="mono", taught_count=TAUGHT, taught_seed=SEED
    )
    sure = [cell for cell in cells if cell.probability in (0.0, 1.0)]
    answers = [detector.predict([decode(cell.path.read_bytes())])[0] for cell in sure]
    scores = [answer.raw_score for answer in answers if isinstance(answer, Prediction)]
    assert len(scores) == len(sure)
    return np.array(scores), np.array([not cell.good for cell in sure])


def test_defective_cells_rank_above_good_ones(judged: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    scores, defective = judged
    assert roc_auc_score(defective, scores) >= 0.95


def test_some_threshold_finds_the_defective_cells(judged: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    scores, defective = judged
    precision, recall, _ = precision_recall_curve(defective, scores)
    assert np.max(2 * precision * recall / (precision + recall)) >= 0.91


def test_the_false_rejects_are_as_many_as_calibration_promised(
    detector: PatchCore, judged: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    scores, defective = judged
    rejected = int((scores[~defective] >= detector.calibration.raw_threshold).sum())
    low, high = detector.calibration.false_reject_interval
    seen = observed_interval(rejected, int((~defective).sum()))
    # What was seen is itself a sample: the two intervals must meet.
    assert seen.low <= high
    assert low <= seen.high


def test_unseen_good_cells_are_rejected_as_often_as_promised_however_the_cells_are_drawn(
    detector: PatchCore, judged: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    """Real cells, none of which was learned from: some drawn to calibrate on, the others are the parts to come."""
    raw_scores, defective = judged
    cells = np.concatenate([detector.calibration.good_raw_scores, raw_scores[~defective]])
    random = np.random.default_rng(0)
    kept = []
    for _ in range(1000):
        random.shuffle(cells)
        calibration = calibrate(cells[:80].tolist(), 0.05, 0.05)
        low, high = false_rejects_to_come(calibration, len(cells) - 80)
        kept.append(low <= int((cells[80:] >= calibration.raw_threshold).sum()) <= high)
    assert np.mean(kept) >= 0.95


def test_in_at_least_95_of_100_resamplings_the_rate_of_unseen_good_cells_is_inside_the_promised_interval(
    detector: PatchCore, judged: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    raw_scores, defective = judged
    unseen = {str(number): [score] for number, score in enumerate(raw_scores[~defective].tolist())}
    found = resampled(detector.calibration, unseen)
    print(found)
    assert found is not None and found["resamplings"] == 100
    assert found["inside"] >= 95
