"""PatchCore's lessons: from known-good images to a calibrated detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import torch

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.backbone import Backbone, BackboneSource, backbone_to_teach
from workers.detectors.calibration import calibrate
from workers.detectors.detector import Image
from workers.detectors.frame_features import FrameFeatures, checked
from workers.detectors.held_out import named, turns
from workers.detectors.patchcore import Eye, PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_lesson import Lesson
from workers.detectors.patches import Patches, patches_of
from workers.detectors.telling import Progressing, Told
from workers.detectors.tiles import WHOLE

CHUNK = 8  # images in memory at once while teaching

Progress = Callable[[int], None]


def teach(
    images: Iterable[Image],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    source: BackboneSource | None = None,
    backbone: Backbone | None = None,
) -> PatchCore:
    """Learn what good looks like; thresholds are honest, because each part is scored by a model that does not know it.

    groups: one for each image; images of one part have the same. Without them each image shows a part of its own.
    source: the CLIP whose visual tower looks at them, at the whole number of patches nearest to the image size; without
    one EfficientNet-Lite0 does. backbone: that of a detector which is taught anew, on the device it is on.
    Memory: 0.6 MB for each tile of an image, until all are learned from.
    """
    configuration = configuration or PatchCoreConfiguration()
    backbone = backbone or backbone_to_teach(configuration.image_size, configuration.local_contrast, source)
    configuration = replace(configuration, image_size=backbone.image_size)
    eye = Eye(configuration, backbone)
    with one_thread_an_operation() as threads:
        frames = list(watched(images, eye, progress, threads))
    return teach_patches(frames, eye, configuration, groups=groups, seed=seed).detector


def teach_features(
    frames: Iterable[FrameFeatures],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> PatchCore:
    """As `teach`, from features that were kept: no forward pass. Frames are not tiled."""
    return teach_judged(frames, groups=groups, configuration=configuration, seed=seed, told=told).detector


def teach_judged(
    frames: Iterable[FrameFeatures],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> Taught:
    """As `teach_features`, with what is known of the frames on the way."""
    configuration = configuration or PatchCoreConfiguration()
    eye = Eye(configuration)
    if eye.look is None:
        raise TeachingFailed(f'features are of whole frames; tiles is "{configuration.tiles}", allowed: {WHOLE}')
    patches = [[patches_of(checked(one, eye.look).unpacked())] for one in frames]
    return teach_patches(patches, eye, configuration, groups=groups, seed=seed, told=told)


def teach_seen(
    base: PatchCore,
    frames: Iterable[Sequence[Any]],
    *,
    groups: Sequence[str],
    seed: int,
    told: Told | None = None,
) -> PatchCore:
    """Anew what base is, from what its eye said of frames' tiles: no forward pass."""
    with one_thread_an_operation():
        patches = [on_cpu(base.eye.backbone.patches_of(tile) for tile in tiles) for tiles in frames]
    return teach_patches(patches, base.eye, base.configuration, groups=groups, seed=seed, told=told).detector


class Taught(NamedTuple):
    """A detector, and the raw score of each frame by one that did not learn from it."""

    detector: PatchCore
    raw_scores: list[float]


def teach_patches(
    frames: Sequence[list[Patches]],
    eye: Eye,
    configuration: PatchCoreConfiguration,
    *,
    groups: Sequence[str] | None,
    seed: int,
    told: Told | None = None,
) -> Taught:
    """From the tiles' patches of each frame. All are learned from; each is calibrated on as one that does not know it
    scores it."""
    groups = named(len(frames), groups)
    by_turns = turns(groups, configuration.folds, configuration.target_false_reject_rate, seed)
    heard = Progressing(told, configuration.folds + 1)
    with one_thread_an_operation() as threads, threads_of_one(threads) as pool:
        lesson = pool.submit(Lesson, frames, by_turns, eye, configuration, seed, heard).result()
        tensors = pool.submit(lesson.learn)
        scores: dict[int, float] = {}
        for found in pool.map(lesson.raw_scores, range(configuration.folds)):
            scores |= found
            heard.done += 1
    raw_scores = [scores[place] for place in range(len(frames))]
    calibration = calibrate(
        raw_scores, configuration.target_false_reject_rate, configuration.review_share, groups, by_turns=True
    )
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Taught(PatchCore(configuration, tensors.result(), calibration, created_at, eye), raw_scores)


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """How many threads there were. With several in one operation the bits would depend on their number, and on a busy
    machine each of thousands of small operations waits for the slowest thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def threads_of_one(count: int) -> ThreadPoolExecutor:
    """So many threads, each with operations of one thread."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def watched(images: Iterable[Image], eye: Eye, progress: Progress | None, threads: int) -> Iterator[list[Patches]]:
    """The tiles' patches, an image on each thread. Images are not kept: 300 camera frames are more than a gigabyte."""
    numbered = enumerate(images, start=1)

    def look(one: tuple[int, Image]) -> list[Patches]:
        number, image = one
        try:
            return on_cpu(eye.patches(image))
        except InspectionFailed as error:
            raise TeachingFailed(f"known-good image {number}: {error}") from error

    with threads_of_one(threads) as pool:
        while chunk := list(islice(numbered, CHUNK)):
            yield from pool.map(look, chunk)
            if progress is not None:
                progress(chunk[-1][0])


def on_cpu(tiles: Iterable[Patches]) -> list[Patches]:
    """Learned from there, whatever device looked: the same draws everywhere."""
    return [Patches(*(part.cpu() for part in tile)) for tile in tiles]
