"""Images for the pages: as stored, as a thumbnail, as a heat map; and masks that people draw.

An image is named by its SHA-256 and never changes, so a browser may keep it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import cv2
import numpy as np
from fastapi import Body, FastAPI, HTTPException, Path, Query, Request, Response
from numpy.typing import NDArray

from orchestrator.queue_routes import Operator
from orchestrator.review_answers import BODY, MISSING, REFUSED, MaskStored
from storage.errors import ImageSizeRefused, ImageUnreadable
from storage.images import Image, ImageStore, decode, describe, encode

IMAGE: Final = "/api/v1/images/{sha256}"
TAGS: Final[list[Any]] = ["images"]
FOR_EVER: Final = "private, max-age=31536000, immutable"
MASK_BYTES: Final = 32 << 20
BROWSERS_SHOW: Final = ("image/jpeg", "image/png", "image/bmp")
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the stored image.")]
Side = Annotated[int, Query(ge=16, le=4096, description="Longest side in pixels.")]


def picture(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes an image."""
    content = {one: {"schema": {"type": "string", "format": "binary"}} for one in media_types}
    return {
        200: {"description": "The image.", "content": content},
        304: {"description": "The browser has it already."},
    }


SHOWN = picture(*BROWSERS_SHOW)
ORIGINALS = picture("image/jpeg", "image/png", "image/bmp", "image/tiff", "application/octet-stream")


def add_images(app: FastAPI, store: Callable[[], ImageStore]) -> None:
    @app.get(IMAGE, tags=TAGS, responses=ORIGINALS | MISSING, response_class=Response)
    def original(who: Operator, request: Request, sha256: Sha256) -> Response:
        """The bytes as they were stored."""
        return kept(request, sha256, lambda: original_of(store().get(sha256)))

    @app.get(f"{IMAGE}/rendition", tags=TAGS, responses=SHOWN | MISSING, response_class=Response)
    def rendition(who: Operator, request: Request, sha256: Sha256) -> Response:
        """The image as every browser shows it, pixel by pixel: TIFF and 16 bit become a PNG of 8 bit."""
        return kept(request, f"{sha256}-shown", lambda: rendition_of(store().get(sha256)))

    @app.get(f"{IMAGE}/thumbnail", tags=TAGS, responses=picture("image/jpeg") | MISSING, response_class=Response)
    def thumbnail(who: Operator, request: Request, sha256: Sha256, side: Side = 256) -> Response:
        """The image as a JPEG, not larger than that."""
        return kept(request, f"{sha256}-{side}", lambda: (shrunk(store().get(sha256), side), "image/jpeg"))

    @app.get(f"{IMAGE}/heatmap", tags=TAGS, responses=picture("image/png") | MISSING, response_class=Response)
    def heatmap(who: Operator, request: Request, sha256: Sha256) -> Response:
        """A stored anomaly map as colours, clear where nothing is anomalous: to be laid over the frame."""
        return kept(request, f"{sha256}-heat", lambda: (coloured(store().get(sha256)), "image/png"))

    @app.post("/api/v1/masks", tags=TAGS, status_code=201, responses=REFUSED | BODY)
    def mask(who: Operator, data: Annotated[bytes, Body(media_type="image/png")]) -> MaskStored:
        """Store a drawn mask: a PNG of the frame's size, grey, 8 bit, 255 where defective. A region then names it."""
        try:
            facts, drawn = describe(data), decode(data)
        except (ImageUnreadable, ImageSizeRefused) as error:
            raise HTTPException(422, f"not a mask: {error}") from error
        if facts.media_type != "image/png" or drawn.ndim != 2 or drawn.dtype != np.uint8:
            raise HTTPException(422, f"a mask is an 8 bit grey PNG; given is {facts.media_type} of {drawn.shape}")
        if not np.isin(drawn, (0, 255)).all():
            raise HTTPException(422, "a mask has only the values 0 and 255")
        return MaskStored(sha256=store().put(data, ".png").sha256, width=facts.width, height=facts.height)


def kept(request: Request, tag: str, made: Callable[[], tuple[bytes, str]]) -> Response:
    """The image, or 304 for a browser that has it."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": FOR_EVER}
    if f'"{tag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    data, media_type = made()
    return Response(data, media_type=media_type, headers=headers)


def original_of(data: bytes) -> tuple[bytes, str]:
    try:
        return data, describe(data).media_type
    except ImageUnreadable:
        return data, "application/octet-stream"  # what a camera delivered and nobody can read is evidence all the same


def rendition_of(data: bytes) -> tuple[bytes, str]:
    try:
        facts = describe(data)
    except ImageUnreadable as error:
        raise HTTPException(422, f"this image cannot be shown: {error}") from error
    if facts.bit_depth == 8 and facts.media_type in BROWSERS_SHOW:
        return data, facts.media_type
    return encode(visible(readable(data, None)), "png"), "image/png"


def visible(image: Image) -> NDArray[np.uint8]:
    """8 bit. Of 16 bit the eight highest that the image uses: what a camera of 12 bit delivers is not shown black."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    unused = 16 - int(image.max()).bit_length()
    return (image >> max(0, 8 - unused)).astype(np.uint8)


def shrunk(data: bytes, side: int) -> bytes:
    """A JPEG of 8 bit."""
    image = visible(readable(data, side))
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA))[1].tobytes()


def coloured(data: bytes) -> bytes:
    """(h, w) of 16 bit to a PNG with transparency."""
    levels = readable(data, None)
    if levels.ndim != 2 or levels.dtype != np.uint16:
        raise HTTPException(422, "this image is no anomaly map")
    shade = (levels >> 8).astype(np.uint8)
    colours = cv2.applyColorMap(shade, cv2.COLORMAP_TURBO)
    return cv2.imencode(".png", np.dstack([colours, shade]))[1].tobytes()


def readable(data: bytes, side: int | None) -> Image:
    try:
        return decode(data, minimum_side=side)
    except (ImageUnreadable, ImageSizeRefused) as error:
        raise HTTPException(422, f"this image cannot be shown: {error}") from error
