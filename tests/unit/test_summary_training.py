"""The summary's machine, and what it says of frames that were held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from workers.detectors.summariser import FOLDS as HELD_OUT
from workers.detectors.summariser import fold_of, learn_summariser, summed_up
from workers.detectors.summary_machine import SummaryMachine, kernel
from workers.detectors.summary_training import BLOCK, among, teach

FRAMES, CELLS, CHANNELS = 60, 16, 12
TRUTH = np.arange(FRAMES) % 3 == 0
FOLDS = np.random.default_rng(0).permutation(FRAMES) % 4


PARTS = np.array([fold_of(f"part {number}") for number in range(FRAMES)])


def looks(seed: int, odd: float) -> Tensor:
    """(frames, cells, channels); defective frames are odd in three of the channels."""
    cells = torch.randn(FRAMES, CELLS, CHANNELS, generator=torch.Generator().manual_seed(seed))
    cells[torch.from_numpy(TRUTH), :, :3] += odd
    return cells


def taught(
    cells: Tensor, truth: NDArray[np.bool_], folds: NDArray[np.int64]
) -> tuple[SummaryMachine, NDArray[np.float64]]:
    """The machine, and what is said of each frame by one that did not learn from it."""
    summariser, rows = learn_summariser(cells, np.tile(PARTS, len(cells) // FRAMES))
    found = teach(rows, summariser.held_out(cells[:FRAMES], PARTS), truth, folds)
    return found.vectors.as_machine(rows, summariser), found.margins


def test_what_can_be_told_is_told_of_held_out_frames_and_of_others() -> None:
    machine, margins = taught(looks(0, 0.7), TRUTH, FOLDS)
    assert roc_auc_score(TRUTH, margins) > 0.9
    assert roc_auc_score(TRUTH, machine.margins(looks(1, 0.7)).numpy()) > 0.9


def test_chance_is_not_mistaken_for_knowledge() -> None:
    """By heart it would know each frame."""
    by_heart, told = [], []
    for seed in range(8):
        machine, margins = taught(looks(seed, 0.0), TRUTH, FOLDS)
        by_heart.append(roc_auc_score(TRUTH, machine.margins(looks(seed, 0.0)).numpy()))
        told.append(roc_auc_score(TRUTH, margins))
    assert min(by_heart) > 0.95
    assert 0.4 < np.mean(told) < 0.6


def test_other_looks_are_learned_from_and_not_judged() -> None:
    plain, more = looks(0, 0.7), torch.cat([looks(0, 0.7), looks(0, 0.7).flip(1)])
    _, margins = taught(more, TRUTH, FOLDS)
    assert margins.shape == (FRAMES,)
    assert not np.allclose(margins, taught(plain, TRUTH, FOLDS)[1])


def test_a_held_out_frame_is_judged_by_what_was_learned_without_it() -> None:
    """With its fold's labels turned around its margin stays."""
    turned = TRUTH ^ (FOLDS == 0)
    first, second = (taught(looks(0, 0.7), truth, FOLDS)[1] for truth in (TRUTH, turned))
    assert first[FOLDS == 0] == pytest.approx(second[FOLDS == 0])
    assert not np.allclose(first[FOLDS == 1], second[FOLDS == 1])


def test_frames_of_no_fold_are_learned_from_and_told_from_what_knows_them() -> None:
    folds = np.where(np.arange(FRAMES) < 10, -1, FOLDS)
    _, margins = taught(looks(0, 0.7), TRUTH, folds)
    assert np.isfinite(margins).all() and roc_auc_score(TRUTH[:10], margins[:10]) == 1


def test_a_frame_that_is_judged_is_whitened_without_its_part() -> None:
    """Whatever it looks like, that changes nothing in what it is held against."""
    usual, odd = looks(0, 0.0), looks(0, 0.0)
    odd[torch.from_numpy(PARTS == 1)] *= torch.linspace(1, 5, CHANNELS)
    first, second = (learn_summariser(cells, PARTS)[0] for cells in (usual, odd))
    assert torch.equal(first.without[1].matrix, second.without[1].matrix)
    assert not torch.allclose(first.without[0].matrix, second.without[0].matrix)
    assert not torch.allclose(first.whitening.matrix, second.whitening.matrix)
    judged = second.held_out(odd, PARTS)
    alone = second.standardised(summed_up(odd[7:8], second.without[PARTS[7]]))
    assert torch.allclose(judged[7:8], alone, atol=1e-4)
    assert not torch.allclose(judged, second.rows(odd), atol=0.1)


def test_parts_of_one_fold_alone_are_held_against_themselves() -> None:
    summariser, _ = learn_summariser(looks(0, 0.0), np.zeros(FRAMES, np.int64))
    assert len(summariser.without) == HELD_OUT
    assert torch.equal(summariser.without[0].matrix, summariser.whitening.matrix)


def test_a_part_has_the_same_fold_always_and_parts_are_spread_over_all() -> None:
    assert [fold_of(name) for name in ("", "lot 7/part 3", "image:0")] == [0, 1, 4]
    counts = np.bincount([fold_of(f"part {number}") for number in range(1000)], minlength=HELD_OUT)
    assert counts.min() > 150


def test_the_kernel_of_many_rows_is_that_of_each_two() -> None:
    rows = torch.randn(2 * BLOCK + 7, 9, generator=torch.Generator().manual_seed(0))
    found = among(rows)
    assert np.allclose(found, kernel(rows, rows).numpy(), atol=1e-5)
