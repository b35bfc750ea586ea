"""What a model is retrained from: a snapshot's images with what is known of each, read when they are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.image_store import ImageStore
from storage.images import Image, decode, decoded_size
from storage.snapshot_models import ItemSource, SnapshotItem
from workers.snapshots.mask import Mask, mask_of


@dataclass(frozen=True)
class Material:
    """The images models may learn from.

    known: SHA-256 of those that the one-class detector was taught from. raw_scores: of those, by SHA-256, by one that
    did not learn from the image, where that was kept.
    """

    items: Sequence[SnapshotItem]
    store: ImageStore
    minimum_side: int
    maximum_megapixels: float
    known: frozenset[str] = frozenset()
    raw_scores: Mapping[str, float] = field(default_factory=dict)
    represented: Mapping[str, int] = field(default_factory=dict)
    """The images that the champion's representation was learned from, each with the fold its part was in then."""

    @property
    def groups(self) -> list[str]:
        return [item.part_key for item in self.items]

    def image(self, item: SnapshotItem) -> Image:
        """Decoded as serving decodes it."""
        data = self.store.get(item.sha256)
        return decode(data, minimum_side=self.minimum_side, maximum_megapixels=self.maximum_megapixels)

    def size(self, item: SnapshotItem) -> tuple[int, int]:
        """(rows, columns) of `image`, which need not be decoded for it."""
        return decoded_size(item.width, item.height, item.media_type, self.minimum_side)

    def is_taught(self, item: SnapshotItem) -> bool:
        return not item.is_anomaly and (item.source is ItemSource.TAUGHT or item.sha256 in self.known)

    def mask(self, item: SnapshotItem) -> Mask | None:
        """(H, W) of the stored image, where a person saw the defect; None where nobody drew it."""
        drawn = mask_of(self.store, item) if item.is_anomaly else None
        return drawn if drawn is not None and drawn.any() else None

    def good_parts(self) -> list[str]:
        """Parts that people decided to be good and that the one-class detector does not know, in the order of names."""
        bad = {item.part_key for item in self.items if item.is_anomaly}
        known = {item.part_key for item in self.items if self.is_taught(item)}
        return sorted({item.part_key for item in self.items} - bad - known)

    def bad_parts(self) -> list[str]:
        return sorted({item.part_key for item in self.items if item.is_anomaly})
