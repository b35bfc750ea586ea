"""The summary's machine, and what it says of frames that were held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from workers.detectors.summary_training import teach

FRAMES, CELLS, CHANNELS = 60, 16, 12
TRUTH = np.arange(FRAMES) % 3 == 0
FOLDS = np.random.default_rng(0).permutation(FRAMES) % 4


def looks(seed: int, odd: float) -> Tensor:
    """(frames, cells, channels); defective frames are odd in three of the channels."""
    cells = torch.randn(FRAMES, CELLS, CHANNELS, generator=torch.Generator().manual_seed(seed))
    cells[torch.from_numpy(TRUTH), :, :3] += odd
    return cells


def test_what_can_be_told_is_told_of_held_out_frames_and_of_others() -> None:
    machine, margins = teach(looks(0, 0.7), TRUTH, FOLDS)
    assert roc_auc_score(TRUTH, margins) > 0.9
    assert roc_auc_score(TRUTH, machine.margins(looks(1, 0.7)).numpy()) > 0.9


def test_chance_is_not_mistaken_for_knowledge() -> None:
    """By heart it would know each frame."""
    by_heart, told = [], []
    for seed in range(8):
        machine, margins = teach(looks(seed, 0.0), TRUTH, FOLDS)
        by_heart.append(roc_auc_score(TRUTH, machine.margins(looks(seed, 0.0)).numpy()))
        told.append(roc_auc_score(TRUTH, margins))
    assert min(by_heart) > 0.95
    assert 0.4 < np.mean(told) < 0.6


def test_other_looks_are_learned_from_and_not_judged() -> None:
    plain, more = looks(0, 0.7), torch.cat([looks(0, 0.7), looks(0, 0.7).flip(1)])
    margins = teach(more, TRUTH, FOLDS).margins
    assert margins.shape == (FRAMES,)
    assert not np.allclose(margins, teach(plain, TRUTH, FOLDS).margins)


def test_a_held_out_frame_is_judged_by_what_was_learned_without_it() -> None:
    """With its fold's labels turned around its margin stays."""
    turned = TRUTH ^ (FOLDS == 0)
    first, second = (teach(looks(0, 0.7), truth, FOLDS).margins for truth in (TRUTH, turned))
    assert first[FOLDS == 0] == pytest.approx(second[FOLDS == 0])
    assert not np.allclose(first[FOLDS == 1], second[FOLDS == 1])


def test_frames_of_no_fold_are_learned_from_and_told_from_what_knows_them() -> None:
    folds = np.where(np.arange(FRAMES) < 10, -1, FOLDS)
    margins = teach(looks(0, 0.7), TRUTH, folds).margins
    assert np.isfinite(margins).all() and roc_auc_score(TRUTH[:10], margins[:10]) == 1
