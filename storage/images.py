"""Images: pixels to bytes and back; ImageStore keeps the bytes under their hash."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import ImageSizeRefused, ImageUnreadable
from storage.image_header import SUFFIXES, ImageFacts, describe
from storage.image_store import ImageStore, StoredImage
from storage.image_structure import check_complete
from storage.jpeg_scans import check_scans

__all__ = [
    "SUFFIXES",
    "Image",
    "ImageFacts",
    "ImageFormat",
    "ImageStore",
    "StoredImage",
    "decode",
    "decoded_size",
    "describe",
    "encode",
    "maximum_file_bytes",
    "silence_opencv",
]

Image = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W) grey or (H, W, 3) BGR, 8 or 16 bit."""
ImageFormat = Literal["jpeg", "png"]

FILE_BYTES_BESIDE_PIXELS: Final = 4 << 20
"""Headers, colour profiles, thumbnails."""
OPENCV_SILENT: Final = 0
REDUCED_GREY: Final = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
REDUCED_COLOUR: Final = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def maximum_file_bytes(maximum_megapixels: float) -> int:
    """No image file of so many pixels is larger: four channels of 16 bit, not compressed, and what else is in it."""
    return int(maximum_megapixels * 1e6) * 8 + FILE_BYTES_BESIDE_PIXELS


def encode(pixels: Image, format: ImageFormat, quality: int = 95) -> bytes:
    """JPEG of this quality, or PNG, which loses nothing; 16 bit is always PNG, because JPEG holds 8."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.dtype}; uint8 and uint16 can be stored")
    if format == "jpeg" and pixels.dtype == np.uint8:
        written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        written, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise ValueError(f"pixels of shape {pixels.shape} cannot be written as {format}")
    return data.tobytes()


def decode(
    data: bytes, *, minimum_side: int | None = None, maximum_megapixels: float = 100, from_outside: bool = False
) -> Image:
    """The pixels, or ImageUnreadable / ImageSizeRefused with the reason.

    Grey stays grey and 16 bit stays 16 bit; palettes and CMYK become BGR; alpha is dropped (in a TIFF: laid on black);
    an EXIF orientation is applied. With minimum_side a JPEG is decoded at 1/2, 1/4 or 1/8, the smallest that keeps
    both sides that long. The same data and minimum_side give the same pixels: audits rely on it.
    A JPEG from_outside is looked through for missing pixels, which takes longer than decoding it.
    """
    facts = describe(data)
    if facts.width * facts.height > maximum_megapixels * 1e6:
        raise ImageSizeRefused(f"{facts.width}x{facts.height} pixels; {maximum_megapixels:g} megapixels are allowed")
    check_complete(data, facts.media_type)
    if from_outside and facts.media_type == "image/jpeg":
        check_scans(data)
    silence_opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _flags(facts, minimum_side))
    except cv2.error as error:
        raise ImageUnreadable(f"the {facts.media_type} cannot be decoded: {error.err}") from error
    return _checked(pixels, facts, decoded_size(facts.width, facts.height, facts.media_type, minimum_side))


def decoded_size(width: int, height: int, media_type: str, minimum_side: int | None) -> tuple[int, int]:
    """(rows, columns) that `decode` makes of such an image."""
    reduction = _reduction(width, height, media_type, minimum_side)
    return -(-height // reduction), -(-width // reduction)


def _flags(facts: ImageFacts, minimum_side: int | None) -> int:
    reduction = _reduction(facts.width, facts.height, facts.media_type, minimum_side)
    if reduction > 1:
        return (REDUCED_GREY if facts.channels == 1 else REDUCED_COLOUR)[reduction]
    return (cv2.IMREAD_GRAYSCALE if facts.channels == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_ANYDEPTH


def _reduction(width: int, height: int, media_type: str, minimum_side: int | None) -> int:
    if minimum_side is None or media_type != "image/jpeg":
        return 1
    side = min(width, height)
    return next((reduction for reduction in (8, 4, 2) if side >= minimum_side * reduction), 1)


def _checked(pixels: object, facts: ImageFacts, size: tuple[int, int]) -> Image:
    # OpenCV answers None for what it cannot decode, and some versions a picture of another size.
    if not isinstance(pixels, np.ndarray) or pixels.shape[:2] != size:
        raise ImageUnreadable(f"the {facts.media_type} of {facts.width}x{facts.height} pixels cannot be decoded")
    if pixels.dtype.itemsize * 8 != facts.bit_depth:
        raise ImageUnreadable(f"the {facts.media_type} was decoded as {pixels.dtype}, not {facts.bit_depth} bit")
    return cast(Image, pixels)


@cache
def silence_opencv() -> None:
    """Our errors say what is wrong with an image; OpenCV's own lines on stderr would say it twice."""
    # OpenCV 5 moved the switch; OpenCV 4 keeps it at the top.
    set_log_level = cv2.utils.logging.setLogLevel if hasattr(cv2.utils, "logging") else vars(cv2)["setLogLevel"]
    set_log_level(OPENCV_SILENT)
