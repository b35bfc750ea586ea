"""What a model is retrained from: a snapshot's images with what is known of each, read when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.image_store import ImageStore
from storage.images import Image, decode
from storage.snapshot_models import ItemSource, SnapshotItem
from workers.detectors.labelled import Labelled


@dataclass(frozen=True)
class Material:
    """The images models may learn from. known: SHA-256 of those that the one-class detector was taught from."""

    items: Sequence[SnapshotItem]
    store: ImageStore
    minimum_side: int
    maximum_megapixels: float
    known: frozenset[str] = frozenset()

    @property
    def groups(self) -> list[str]:
        return [item.part_key for item in self.items]

    def image(self, item: SnapshotItem) -> Image:
        """Decoded as serving decodes it."""
        data = self.store.get(item.sha256)
        return decode(data, minimum_side=self.minimum_side, maximum_megapixels=self.maximum_megapixels)

    def is_taught(self, item: SnapshotItem) -> bool:
        return not item.is_anomaly and (item.source is ItemSource.TAUGHT or item.sha256 in self.known)

    def labelled(self, item: SnapshotItem) -> Labelled:
        image = self.image(item)
        mask = mask_of(item, image.shape[:2], self.store)
        return Labelled(image, item.is_anomaly, mask, self.is_taught(item))

    def good_parts(self) -> list[str]:
        """Parts that people decided to be good and that the one-class detector does not know, in the order of names."""
        bad = {item.part_key for item in self.items if item.is_anomaly}
        known = {item.part_key for item in self.items if self.is_taught(item)}
        return sorted({item.part_key for item in self.items} - bad - known)

    def bad_parts(self) -> list[str]:
        return sorted({item.part_key for item in self.items if item.is_anomaly})

    def images_of(self, parts: frozenset[str]) -> Iterator[SnapshotItem]:
        return (item for item in self.items if item.part_key in parts)


def mask_of(item: SnapshotItem, shape: tuple[int, ...], store: ImageStore) -> NDArray[np.uint8] | None:
    """(H, W) of the image as it was decoded, 255 where a person saw the defect; None where nobody drew it."""
    if not item.is_anomaly or not item.regions:
        return None
    mask = np.zeros((item.height, item.width), np.uint8)
    for region in item.regions:
        if region["mask_sha256"]:
            drawn = cv2.imdecode(np.frombuffer(store.get(region["mask_sha256"]), np.uint8), cv2.IMREAD_GRAYSCALE)
            if drawn is not None:
                mask |= np.asarray(drawn, np.uint8)
        elif region["kind"] == "box":
            (left, top), (right, bottom) = np.rint(region["points"]).astype(int).tolist()
            cv2.rectangle(mask, (left, top), (right, bottom), 255, cv2.FILLED)
        else:
            cv2.fillPoly(mask, [np.rint(region["points"]).astype(np.int32)], 255)
    if mask.shape != shape:
        mask = np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
    return mask if mask.any() else None
