"""PatchCore's lessons: from known-good images to a calibrated detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import torch
from torch import Tensor

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.backbone import Backbone, BackboneSource, backbone_to_teach
from workers.detectors.calibration import calibrate
from workers.detectors.detector import Image
from workers.detectors.frame_features import FrameFeatures, checked
from workers.detectors.frame_scorer import Distances, FrameScorer, PatchDistances, learn_standards
from workers.detectors.held_out import divide, named
from workers.detectors.patch_bank import learn_bank
from workers.detectors.patch_gaussian import learn_gaussian
from workers.detectors.patchcore import Eye, PatchCore, PatchCoreConfiguration
from workers.detectors.patches import Patches, patches_of
from workers.detectors.telling import Told, within
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
    """Learn what good looks like; a share of the parts is held out, so that the thresholds are honest.

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
    return teach_patches(frames, eye, configuration, groups=groups, seed=seed)


def teach_features(
    frames: Iterable[FrameFeatures],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> PatchCore:
    """As `teach`, from features that were kept: no forward pass. Frames are not tiled."""
    configuration = configuration or PatchCoreConfiguration()
    eye = Eye(configuration)
    if eye.look is None:
        raise TeachingFailed(f'features are of whole frames; tiles is "{configuration.tiles}", allowed: {WHOLE}')
    patches = [[patches_of(checked(one, eye.look).unpacked())] for one in frames]
    return teach_patches(patches, eye, configuration, groups=groups, seed=seed, told=told)


def teach_patches(
    frames: Sequence[list[Patches]],
    eye: Eye,
    configuration: PatchCoreConfiguration,
    *,
    groups: Sequence[str] | None,
    seed: int,
    told: Told | None = None,
) -> PatchCore:
    """From the tiles' patches of each frame."""
    with one_thread_an_operation():
        groups = named(len(frames), groups)
        division = divide(groups, configuration.held_out_share, configuration.target_false_reject_rate, seed)
        kept = [frames[place] for place in division.kept]
        kept_groups = [groups[place] for place in division.kept]
        tensors = learn(kept, kept_groups, eye, configuration, seed, told)
        distances = PatchDistances(eye.tiles, tensors)
        scorer = FrameScorer(configuration.gaussian_weight, configuration.worst(eye.grid), tensors)
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
            # Learned from on the CPU, whatever device looked: the same draws everywhere.
            return [Patches(*(part.cpu() for part in tile)) for tile in eye.patches(image)]
        except InspectionFailed as error:
            raise TeachingFailed(f"known-good image {number}: {error}") from error

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while chunk := list(islice(numbered, CHUNK)):
            yield from pool.map(look, chunk)
            if progress is not None:
                progress(chunk[-1][0])


def learn(
    frames: Sequence[list[Patches]],
    groups: Sequence[str],
    eye: Eye,
    configuration: PatchCoreConfiguration,
    seed: int,
    told: Told | None = None,
) -> dict[str, Tensor]:
    """The bank, the Gaussian, and which distances to them are usual for good parts.

    The usual is learned by halves, each from parts that the other half does not know: what was learned from is far
    closer than a part to come. Nothing is learned from what is held out: the calibration sees it for the first time.
    """
    halves = halved(groups)
    usual: list[Distances] = []
    for number, (known, unknown) in enumerate((halves, halves[::-1])):
        here = within(told, number / 4, (number + 1) / 4)
        tensors = memorise([frames[place] for place in known], configuration.bank_size // 2, seed, here)
        distances = PatchDistances(eye.tiles, tensors)
        usual += [distances.of(frames[place]) for place in unknown]
    tensors = memorise(frames, configuration.bank_size, seed, within(told, 0.5, 1))
    distances = PatchDistances(eye.tiles, tensors)
    return tensors | learn_standards([distances.of(frame) for frame in frames], usual, configuration.worst(eye.grid))


def halved(groups: Sequence[str]) -> tuple[list[int], list[int]]:
    """Places of the images of every other part, and of the others."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    first = [place for place, group in enumerate(groups) if numbers[group] % 2 == 0]
    return first, [place for place, group in enumerate(groups) if numbers[group] % 2 == 1]


def memorise(frames: Sequence[list[Patches]], bank_size: int, seed: int, told: Told | None = None) -> dict[str, Tensor]:
    """The bank and the Gaussian."""
    tiles = [tile for frame in frames for tile in frame]
    bank = learn_bank([tile.fine for tile in tiles], bank_size, torch.Generator().manual_seed(seed), told)
    return bank | learn_gaussian([tile.coarse for tile in tiles])
