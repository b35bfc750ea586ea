"""Regions that people drew, shown over a picture: boxes and polygons as outlines, a mask as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from storage.label_models import RegionKind


def show_regions(regions: Sequence[dict[str, Any]], width: int, height: int) -> None:
    """In the place of the picture, fitted as it is; coordinates are the frame's pixels."""
    with shape("svg", viewBox=f"0 0 {width} {height}").classes("regions"):
        for region in regions:
            show_region(region, width, height)


def show_region(region: dict[str, Any], width: int, height: int) -> None:
    if region["kind"] == RegionKind.MASK:
        show_mask(region["mask_sha256"], width, height)
    elif region["kind"] == RegionKind.BOX:
        (x1, y1), (x2, y2) = region["points"]
        shape("rect", x=min(x1, x2), y=min(y1, y2), width=abs(x2 - x1), height=abs(y2 - y1))
    else:
        shape("polygon", points=" ".join(f"{x},{y}" for x, y in region["points"]))


def show_mask(sha256: str, width: int, height: int) -> None:
    """White of the mask lets the colour through, black does not."""
    with shape("mask", id=f"mask-{sha256}"):
        shape("image", href=f"/api/v1/images/{sha256}/rendition", width=width, height=height)
    shape("rect", width=width, height=height, mask=f"url(#mask-{sha256})").classes("mask")


def shape(name: str, **facts: object) -> ui.element:
    made = ui.element(name)
    made.props.update({key: str(value) for key, value in facts.items()})
    return made
