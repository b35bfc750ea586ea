"""Rounds of folds: which members may learn from an image, and which are asked about it."""

from __future__ import annotations

import pytest
import torch

from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_training import learners

FOLDS = torch.tensor([[0, 1], [1, 1], [1, 0], [-1, -1]])  # four images, two rounds of two folds


@pytest.mark.parametrize(("members", "rounds"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_in_each_round_one_member_does_not_learn_from_an_image(members: int, rounds: int) -> None:
    configuration = HeadConfiguration(folds=2, members=members)
    assert configuration.rounds == rounds
    learns = learners(FOLDS[:, :rounds], configuration)
    assert learns.shape == (4, members)
    assert (~learns[:3]).sum(1).tolist() == [rounds] * 3, "a member of each round is asked about the image"
    assert learns[3].all(), "from an image of no fold all learn"
    assert learns[:, 2 * rounds :].all(), "members beyond the rounds learn from all"


def test_who_does_not_learn_is_the_member_of_the_images_fold() -> None:
    learns = learners(FOLDS, HeadConfiguration(folds=2, members=4))
    assert [torch.nonzero(~row)[:, 0].tolist() for row in learns] == [[0, 3], [1, 3], [1, 2], []]
