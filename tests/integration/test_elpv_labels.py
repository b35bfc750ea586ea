"""Labels on real parts: a head is heard no more than held-out cells bear out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from storage.images import decode
from workers import elpv
from workers.detectors.detector import Detector, Image, Prediction
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import use_threads
from workers.detectors.supervised_training import fit

TAUGHT, LABELLED, JUDGED = 60, 60, 160
CONFIGURATION = HeadConfiguration(image_size=128, folds=3, members=3, width=16, least_steps=150, epochs=1)


def image(cell: elpv.Cell) -> Image:
    return decode(cell.path.read_bytes())


def parts(is_anomaly: bool, start: int, count: int) -> list[Labelled]:
    rest = elpv.replayed_cells("mono", shuffled=True, seed=0, taught_cells="mono", taught_count=TAUGHT, taught_seed=0)
    kind = [cell for cell in rest if cell.probability == float(is_anomaly)]
    return [Labelled(image(cell), is_anomaly) for cell in kind[start : start + count]]


@pytest.fixture(scope="module")
def base() -> PatchCore:
    use_threads(1)
    configuration = PatchCoreConfiguration(image_size=128, bank_size=500, target_false_reject_rate=0.1)
    return teach([image(cell) for cell in elpv.taught_cells("mono", TAUGHT, 0)], configuration=configuration, seed=0)


def auroc(detector: Detector, judged: list[Labelled]) -> float:
    answers = detector.predict([one.image for one in judged])
    scores = [answer.anomaly_score for answer in answers if isinstance(answer, Prediction)]
    return float(roc_auc_score([one.is_anomaly for one in judged], np.array(scores)))


@pytest.mark.parametrize("labels_of_a_class", [3, 60])
def test_labels_do_no_harm(base: PatchCore, labels_of_a_class: int) -> None:
    """Three of a kind are not heard; 60 are, where they help: judged on cells enough to see it."""
    learned = parts(True, 0, labels_of_a_class) + parts(False, 0, labels_of_a_class)
    judged = parts(True, LABELLED, JUDGED) + parts(False, LABELLED, JUDGED)
    assert auroc(fit(base, learned, configuration=CONFIGURATION, seed=0), judged) >= auroc(base, judged)
