"""Whether a decision fits the part: its cameras, its defect classes, its masks."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import defect_book
from storage.errors import ImageMissing, ImageUnreadable, ResolutionRefused
from storage.images import ImageStore, describe
from storage.label_models import RegionKind
from storage.models import Frame
from storage.resolution import RegionFacts, Resolution


def check_resolution(session: Session, store: ImageStore, inspection_id: UUID, resolution: Resolution) -> None:
    """ResolutionRefused names what does not fit and what would."""
    if named := resolution.named_defects():
        check_defects(named, defect_book.in_use(session))
    if resolution.regions:
        frames = {one.camera: one for one in session.scalars(select(Frame).where(Frame.inspection_id == inspection_id))}
        for region in resolution.regions:
            check_region(store, frames, region)
        store.make_durable(region.mask_sha256 for region in resolution.regions if region.mask_sha256)


def check_defects(named: set[str], known: set[str]) -> None:
    if unknown := named - known:
        raise ResolutionRefused(
            f"defect class {', '.join(sorted(unknown))}: the defect book has {', '.join(sorted(known))}"
        )


def check_region(store: ImageStore, frames: dict[str, Frame], region: RegionFacts) -> None:
    frame = frames.get(region.camera)
    if frame is None:
        raise ResolutionRefused(f"camera {region.camera!r}: the part was seen by {', '.join(frames) or 'none'}")
    if region.kind is RegionKind.MASK:
        assert region.mask_sha256 is not None  # a mask has one
        check_mask(store, frame, region.mask_sha256)
    elif any(x > frame.width or y > frame.height for x, y in region.points or ()):
        raise ResolutionRefused(f"camera {frame.camera}: a {region.kind.value} outside {frame.width}x{frame.height}")


def check_mask(store: ImageStore, frame: Frame, sha256: str) -> None:
    try:
        facts = describe(store.get(sha256))
    except (ImageMissing, ImageUnreadable) as error:
        raise ResolutionRefused(f"mask {sha256}: {error}") from error
    size = f"{facts.width}x{facts.height}"
    if (facts.media_type, facts.width, facts.height) != ("image/png", frame.width, frame.height):
        raise ResolutionRefused(
            f"mask {sha256} is {facts.media_type} of {size}; a PNG of {frame.width}x{frame.height} is needed"
        )
