"""PatchCore's lessons: from known-good images to a calibrated detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice

import torch
from torch import Tensor

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.calibration import calibrate
from workers.detectors.detector import Image
from workers.detectors.frame_scorer import FrameScorer, PatchDistances, learn_standards
from workers.detectors.held_out import divide, named
from workers.detectors.patch_bank import learn_bank
from workers.detectors.patch_gaussian import learn_gaussian
from workers.detectors.patchcore import Eye, PatchCore, PatchCoreConfiguration
from workers.detectors.patches import Patches

CHUNK = 8  # images in memory at once while teaching

Progress = Callable[[int], None]


def teach(
    images: Iterable[Image],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PatchCore:
    """Learn what good looks like; a share of the parts is held out, so that the thresholds are honest.

    groups: one for each image; images of one part have the same. Without them each image shows a part of its own.
    Memory: 0.6 MB for each tile of an image, until all are learned from.
    """
    configuration = configuration or PatchCoreConfiguration()
    eye = Eye(configuration)
    with one_thread_an_operation() as threads:
        frames = list(watched(images, eye, progress, threads))
        division = divide(
            named(len(frames), groups), configuration.held_out_share, configuration.target_false_reject_rate, seed
        )
        tensors = learn([frames[place] for place in division.kept], eye, configuration, seed)
        distances = PatchDistances(eye.tiles, tensors)
        scorer = FrameScorer(configuration.gaussian_weight, configuration.worst, tensors)
        scores = [scorer.judge(distances.of(frames[place])).raw for place in division.held_out]
    calibration = calibrate(
        scores, configuration.target_false_reject_rate, configuration.review_share, division.held_out_groups
    )
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return PatchCore(configuration, tensors, calibration, created_at, eye)


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


def watched(images: Iterable[Image], eye: Eye, progress: Progress | None, threads: int) -> Iterator[list[Patches]]:
    """The tiles' patches, an image on each thread. Images are not kept: 300 camera frames are more than a gigabyte."""
    numbered = enumerate(images, start=1)

    def look(one: tuple[int, Image]) -> list[Patches]:
        number, image = one
        try:
            return eye.patches(image)
        except InspectionFailed as error:
            raise TeachingFailed(f"known-good image {number}: {error}") from error

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while chunk := list(islice(numbered, CHUNK)):
            yield from pool.map(look, chunk)
            if progress is not None:
                progress(chunk[-1][0])


def learn(
    frames: Sequence[Sequence[Patches]], eye: Eye, configuration: PatchCoreConfiguration, seed: int
) -> dict[str, Tensor]:
    """The bank, the Gaussian, and what is usual of both among the very images they were learned from.

    Nothing is learned from the images held out: the calibration is exact because it sees them for the first time.
    """
    generator = torch.Generator().manual_seed(seed)
    tiles = [tile for frame in frames for tile in frame]
    tensors = learn_bank([tile.fine for tile in tiles], configuration.bank_size, generator)
    tensors |= learn_gaussian([tile.coarse for tile in tiles])
    distances = PatchDistances(eye.tiles, tensors)
    return tensors | learn_standards([distances.of(frame) for frame in frames], configuration.worst)
