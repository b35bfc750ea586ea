"""Frames as head and machine learn from them: made of their features, or kept with the frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.detectors.frame_features import FrameFeatures, Half, Look, checked
from workers.detectors.head import Inputs
from workers.detectors.head_features import MIRRORED, Lessons, cells, inputs_of, lessons, stacked, told_of
from workers.detectors.head_reduction import learn_directions, reduced
from workers.detectors.labelled import Marked, Seen
from workers.detectors.representation import Representation
from workers.detectors.summariser import fold_of, learn_summariser
from workers.detectors.summary import cells_of_frames

DIRECTED = 500  # images, and at most twice as many, that directions are learned from
LARGEST_LESSON = 4000  # looks: while the machine learns from fewer, it also learns from mirrored ones

Activations = Callable[[], list[Tensor]]
Row = NDArray[np.float32]


class Represented(NamedTuple):
    """Some frames; of the disturbed ones there are none, unless all are known so."""

    representation: Representation
    lessons: Lessons
    disturbed: Lessons | None
    rows: Tensor  # (looks * frames, numbers), the frames as they are first
    held_out: Tensor  # (frames, numbers), to be judged
    activations: Activations
    """Stride 16 of the frames and of the disturbed ones, (images, 112, h, w) each: what a tail learns from."""


def represented_anew(frames: Sequence[Seen], groups: Sequence[str], look: Look) -> Represented:
    """With what is learned of these very frames; TeachingFailed when features are of another look."""
    for one in frames:
        checked(one.features, look)
    copies = disturbed(frames)
    some = frames[:: max(1, len(frames) // DIRECTED)]
    along = learn_directions(inputs_of([one.features for one in some]))
    looks = cells([*frames, *copies])
    looks = torch.cat([looks, *mirrored(frames, mirrored_ways(len(frames), len(copies) // len(frames)))])
    folds = np.array([fold_of(part) for part in groups])
    summariser, rows = learn_summariser(looks, np.tile(folds, len(looks) // len(frames)))
    return Represented(
        Representation(along, summariser),
        lessons(frames, along),
        lessons(copies, along) if copies else None,
        rows,
        summariser.held_out(looks[: len(frames)], folds),
        lambda: [stride_16(some) for some in (frames, copies) if some],
    )


class Lesson(NamedTuple):
    """One look at a frame: stages (rows, columns, directions), row (numbers,)."""

    s8: Half
    s16: Half
    s32: Half
    row: Row


class FrameLessons(NamedTuple):
    """All that is kept of a frame while its representation is."""

    plain: Lesson
    disturbed: Lesson
    held_out: Row

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, for a cache."""
        looks = ("plain", self.plain), ("disturbed", self.disturbed)
        found = {f"{look}-{name}": array for look, one in looks for name, array in one._asdict().items()}
        return {**found, "held-out": self.held_out}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> FrameLessons:
        def look(name: str) -> Lesson:
            return Lesson(*(arrays[f"{name}-{field}"] for field in Lesson._fields))

        return cls(look("plain"), look("disturbed"), arrays["held-out"])


def frame_lessons(plain: FrameFeatures, copy: FrameFeatures, part: str, representation: Representation) -> FrameLessons:
    """copy: of the same frame disturbed."""
    stages = reduced(inputs_of([plain, copy]), representation.along)
    looks = cells_of_frames(*(stacked(stage).float() for stage in ((plain.s16, copy.s16), (plain.s32, copy.s32))))
    summariser = representation.summariser
    rows, held_out = summariser.rows(looks), summariser.held_out(looks[:1], np.array([fold_of(part)]))

    def lesson(look: int) -> Lesson:
        s8, s16, s32 = (stage[look].permute(1, 2, 0).contiguous().numpy() for stage in stages)
        return Lesson(s8, s16, s32, rows[look].numpy())

    return FrameLessons(lesson(0), lesson(1), held_out[0].numpy())


def mirrored_rows(looks: Half, representation: Representation) -> Row:
    """(ways, cells, channels) to (ways, numbers)."""
    return np.asarray(representation.summariser.rows(torch.from_numpy(looks).float()).numpy())


def assembled(
    representation: Representation,
    frames: Sequence[Marked],
    kept: Sequence[FrameLessons],
    mirrors: Sequence[Row],
    activations: Activations,
) -> Represented:
    """What was kept of each frame; mirrors: (ways, numbers) each, or none at all."""
    plain, copies = [one.plain for one in kept], [one.disturbed for one in kept]
    ways = range(mirrored_ways(len(frames), 1) if mirrors else 0)
    looks = [[one.row for one in plain], [one.row for one in copies], *([one[way] for one in mirrors] for way in ways)]
    return Represented(
        representation,
        told_of(stages_of(plain), frames),
        told_of(stages_of(copies), frames),
        torch.from_numpy(np.concatenate([np.stack(some) for some in looks])),
        torch.from_numpy(np.stack([one.held_out for one in kept])),
        activations,
    )


def stages_of(kept: Sequence[Lesson]) -> Inputs:
    """(images, directions, rows, columns) each, channels last in memory."""
    stages = [one.s8 for one in kept], [one.s16 for one in kept], [one.s32 for one in kept]
    return Inputs(*(stacked(stage).permute(0, 3, 1, 2) for stage in stages))


def stride_16(frames: Sequence[Seen]) -> Tensor:
    """(images, 112, h, w)."""
    return stacked([one.features.s16 for one in frames])


def disturbed(frames: Sequence[Seen]) -> list[Seen]:
    """The frames as they look disturbed; none, unless all are known so."""
    copies = [replace(one, features=one.disturbed) for one in frames if one.disturbed is not None]
    return copies if len(copies) == len(frames) else []


def mirrored_ways(frames: int, copies: int) -> int:
    """In how many ways so many frames, with so many copies of each, are learned from mirrored."""
    return min(MIRRORED, max(0, LARGEST_LESSON // frames - 1 - copies))


def mirrored(frames: Sequence[Seen], ways: int) -> list[Tensor]:
    """(frames, cells, channels) for one way to mirror, then for the next; none, unless all frames are known so."""
    known = [one.mirrored for one in frames if one.mirrored is not None]
    if len(known) < len(frames):
        return []
    return [torch.from_numpy(np.stack([one[way] for one in known])).float() for way in range(ways)]
