"""Where the defects of a sample are, pixel by pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import DatasetInvalid, ImageSizeRefused, ImageUnreadable
from storage.images import Image, decode
from workers.datasets.files import facts
from workers.datasets.sample import Dataset, Sample

Mask = NDArray[np.bool_]
"""(H, W) of the upright image; true where it is defective."""


def pixels(dataset: Dataset, path: str, *, minimum_side: int | None = None) -> Image:
    """The image as the line decodes it; DatasetInvalid names the file that cannot be decoded."""
    try:
        return decode(dataset.file(path).read_bytes(), minimum_side=minimum_side)
    except (ImageUnreadable, ImageSizeRefused) as error:
        raise DatasetInvalid(dataset.file(path), "image", given=str(error), allowed="an image adline reads") from error
    except OSError as error:
        raise DatasetInvalid(dataset.file(path), "image", given=error.strerror, allowed="a readable file") from error


def defect_mask(dataset: Dataset, sample: Sample) -> Mask | None:
    """None when it is not known where the defect is; nothing is defective in a good image."""
    if not sample.localised:
        return None
    if sample.mask is not None:
        drawn = pixels(dataset, sample.mask)
        return np.asarray(drawn.max(axis=2) > 0 if drawn.ndim == 3 else drawn > 0)
    header = facts(dataset.root, sample.path)
    mask = np.zeros((header.height, header.width), np.bool_)
    for box in sample.boxes:
        rows = slice(math.floor(box.y), math.ceil(box.y + box.height))
        mask[rows, math.floor(box.x) : math.ceil(box.x + box.width)] = True
    return mask


def regions(mask: Mask) -> NDArray[np.int32]:
    """Number the connected defects from 1, diagonal neighbours included, as the evaluation of MVTec AD does."""
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1], np.int32)
