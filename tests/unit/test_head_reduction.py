"""The head trains on few directions of the features, and reads all of them afterwards."""

from __future__ import annotations

import torch

from workers.detectors.head import CHANNELS, Inputs, head_of
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_reduction import MOST_DIRECTIONS, Directions, grown, learn_directions, reduced

SMALL = HeadConfiguration(folds=2, members=2, width=4)


def stages(images: int, seed: int) -> Inputs:
    """(images, channels, rows, columns) of each stage, as kept: in half precision, each channel about a mean of its
    own, and half of what it says is said by all."""
    generator = torch.Generator().manual_seed(seed)

    def stage(channels: int, side: int) -> torch.Tensor:
        own, common = (torch.randn(images, count, side, side, generator=generator) for count in (channels, 1))
        means = torch.arange(channels)[:, None, None] / channels
        return ((own + common) * (1 + means) + 3 * means).half()

    return Inputs(*(stage(channels, side) for channels, side in zip(CHANNELS, (16, 16, 8), strict=True)))


def test_directions_are_few_at_right_angles_and_the_widest_first() -> None:
    along = learn_directions(stages(20, 0))
    assert tuple(len(one.matrix) for one in along) == MOST_DIRECTIONS
    for one, stage in zip(along, reduced(stages(20, 0), along), strict=True):
        assert torch.allclose(one.matrix @ one.matrix.T, torch.eye(len(one.matrix)), atol=1e-4)
        widths = stage.float().std((0, 2, 3))
        assert widths[0] > 3 * widths[1:].max()


def test_one_number_that_says_all_is_the_first_direction() -> None:
    told = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)).half()
    found = learn_directions(Inputs(*(told.expand(-1, channels, -1, -1) for channels in CHANNELS)))
    first: Directions = found[0]
    assert torch.allclose(first.matrix[0].abs(), torch.full((CHANNELS[0],), CHANNELS[0] ** -0.5), atol=1e-4)


def test_a_grown_head_says_of_features_what_it_learned_to_say_of_directions() -> None:
    torch.manual_seed(0)
    along = learn_directions(stages(20, 0))
    head = head_of(SMALL, MOST_DIRECTIONS).eval()
    whole, coming = grown(head, along, SMALL).eval(), stages(3, 1)
    with torch.inference_mode():
        wanted = head.of_standardised(Inputs(*(stage.float() for stage in reduced(coming, along))))
        said = whole(Inputs(*(stage.float() for stage in coming)))
    assert torch.allclose(said.image, wanted.image, atol=5e-3)  # half precision lies between
    assert torch.allclose(said.patches, wanted.patches, atol=5e-3)
    assert said.patches.std() > 0.05
