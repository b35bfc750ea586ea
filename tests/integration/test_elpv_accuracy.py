"""The figure that is promised for real parts: one-class on ELPV's mono cells, judged on cells the model never saw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score

from storage.images import ImageStore, decode
from workers import elpv
from workers.datasets.resampling import resampled
from workers.detectors.calibration import calibrate, false_rejects_to_come, observed_interval
from workers.detectors.detector import Prediction
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import use_threads
from workers.inference.heatmap import encode_map
from workers.labeling.proposal import anomaly_map, proposed

TAUGHT, SEED = 400, 0


@pytest.fixture(scope="module")
def detector() -> PatchCore:
    use_threads(2)
    images = (decode(cell.path.read_bytes()) for cell in elpv.taught_cells("mono", TAUGHT, SEED))
    return teach(images, configuration=PatchCoreConfiguration(), seed=SEED)


@pytest.fixture(scope="module")
def answers(detector: PatchCore) -> list[tuple[elpv.Cell, Prediction]]:
    """Cells the model never saw, and what it says of them; where the experts were unsure nobody knows the truth."""
    use_threads(1)
    cells = elpv.replayed_cells(
        "mono", shuffled=False, seed=0, taught_cells="mono", taught_count=TAUGHT, taught_seed=SEED
    )
    sure = [cell for cell in cells if cell.probability in (0.0, 1.0)]
    said = [detector.predict([decode(cell.path.read_bytes())])[0] for cell in sure]
    scored = [(cell, one) for cell, one in zip(sure, said, strict=True) if isinstance(one, Prediction)]
    assert len(scored) == len(sure)
    return scored


@pytest.fixture(scope="module")
def judged(answers: list[tuple[elpv.Cell, Prediction]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw scores, and whether the cell is defective."""
    return np.array([one.raw_score for _, one in answers]), np.array([not cell.good for cell, _ in answers])


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


def test_every_cell_that_is_put_before_people_has_a_region_to_accept_where_the_map_peaks(
    detector: PatchCore, answers: list[tuple[elpv.Cell, Prediction]], tmp_path: Path
) -> None:
    """Those between the thresholds, and passed ones, of which some are sampled: no map of theirs need reach any."""
    ok, ng = detector.ok_threshold, detector.ng_threshold
    put = [one for _, one in answers if one.anomaly_score < ng]
    uncertain = [one for one in put if one.anomaly_score >= ok]
    assert len(uncertain) >= 8
    assert np.mean([one.anomaly_map.max() < ok for one in uncertain]) > 0.5, "the case this is about"
    store = ImageStore(tmp_path)
    for one in uncertain + put[:50]:
        facts = {"camera": "top", "width": 300, "height": 300, "ok_threshold": ok, "ng_threshold": ng}
        sha256 = store.put(encode_map(one.anomaly_map), ".png").sha256
        found = proposed(store, facts | {"map_sha256": sha256})
        painted = np.zeros((300, 300), np.uint8)
        for region in found:
            assert region.points is not None
            cv2.fillPoly(painted, [np.array(region.points, np.int32)], 1)
        assert 0 < painted.mean() < 0.15
        assert painted.ravel()[anomaly_map(store, sha256, 300, 300).argmax()]
