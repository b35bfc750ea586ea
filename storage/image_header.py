"""What an image file says of itself in its header: size, channels, depth, kind. Nothing is decoded here."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from storage.errors import ImageUnreadable

SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp", "image/tiff": ".tif"}

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
TURNED: Final = range(5, 9)
"""EXIF orientations that swap width and height."""
ORIENTATION: Final = 274


@dataclass(frozen=True)
class ImageFacts:
    """The image as `decode` gives it: orientation applied, 1 channel (grey) or 3 (BGR), 8 or 16 bit."""

    width: int
    height: int
    channels: int
    bit_depth: int
    media_type: str

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.media_type]


def describe(data: bytes) -> ImageFacts:
    """The facts of a JPEG, PNG, BMP or TIFF, from its header alone."""
    try:
        facts = _read_header(data)
    except (struct.error, IndexError) as error:
        raise ImageUnreadable(f"the image ends within its header ({len(data)} bytes)") from error
    if facts.width < 1 or facts.height < 1:
        raise ImageUnreadable(f"the header says {facts.width}x{facts.height} pixels")
    return facts


def _read_header(data: bytes) -> ImageFacts:
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"BM"):
        return _read_bmp(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _read_tiff(data)
    raise ImageUnreadable(f"not a JPEG, PNG, BMP or TIFF: {len(data)} bytes that begin with {data[:8].hex(' ') or '-'}")


def _facts(width: int, height: int, channels: int, bit_depth: int, media_type: str, orientation: int = 1) -> ImageFacts:
    if orientation in TURNED:
        width, height = height, width
    return ImageFacts(width, height, channels, bit_depth, media_type)


def _read_jpeg(data: bytes) -> ImageFacts:
    orientation, at = 1, 2
    while True:
        marker, at = jpeg_marker(data, at)
        (length,) = struct.unpack_from(">H", data, at)
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 8 : at + length])
        if is_jpeg_frame(marker):
            depth, height, width, components = struct.unpack_from(">BHHB", data, at + 2)
            if depth != 8:
                raise ImageUnreadable(f"a JPEG of {depth} bit; 8 is allowed")
            return _facts(width, height, 1 if components == 1 else 3, 8, "image/jpeg", orientation)
        at += length


def jpeg_marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at this place and where its segment begins."""
    if data[at] != 0xFF:
        raise ImageUnreadable(f"the JPEG is corrupt: no marker at byte {at}")
    while data[at] == 0xFF:  # any number of fill bytes may stand before a marker
        at += 1
    return data[at], at + 1


def is_jpeg_frame(marker: int) -> bool:
    """SOF0 to SOF15, which hold the size; C4, C8 and CC are tables."""
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _read_png(data: bytes) -> ImageFacts:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if kind != b"IHDR":
        raise ImageUnreadable("the PNG is corrupt: it does not begin with IHDR")
    orientation, at = 1, 8
    while kind != b"IDAT":
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        at += length + 12
    return _facts(width, height, 1 if colour in (0, 4) else 3, 16 if depth == 16 else 8, "image/png", orientation)


def _read_bmp(data: bytes) -> ImageFacts:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:  # OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        entry_size = 3
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        entry_size = 4
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    grey = bits <= 8 and _is_grey_palette(data[14 + header_size : pixels_at], entry_size)
    return _facts(width, abs(height), 1 if grey else 3, 8, "image/bmp")


def _is_grey_palette(palette: bytes, entry_size: int) -> bool:
    blue, green, red = (palette[channel::entry_size] for channel in range(3))
    return blue == green == red


def _read_tiff(data: bytes) -> ImageFacts:
    tags = tiff_tags(data)
    bits = max(tags.get(258, (1,)))
    if bits > 16 or max(tags.get(339, (1,))) != 1:
        raise ImageUnreadable(f"a TIFF of {bits} bit, sample format {tags.get(339, (1,))[0]}; whole numbers of 8 or 16")
    if 256 not in tags or 257 not in tags:
        raise ImageUnreadable("the TIFF is corrupt: it does not say its size")
    channels = 1 if tags.get(262, (1,))[0] in (0, 1) else 3
    orientation = tags.get(ORIENTATION, (1,))[0]
    return _facts(tags[256][0], tags[257][0], channels, 16 if bits > 8 else 8, "image/tiff", orientation)


TIFF_NUMBERS: Final = {1: "B", 3: "H", 4: "I"}


def tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The whole-number tags of the first page of a TIFF (or of an EXIF block, which is one)."""
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    tags = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
        if kind not in TIFF_NUMBERS or length == 0:
            continue
        layout = f"{order}{min(length, len(data))}{TIFF_NUMBERS[kind]}"
        inline = struct.calcsize(layout) <= 4
        (place,) = (entry + 8,) if inline else struct.unpack_from(order + "I", data, entry + 8)
        tags[tag] = struct.unpack_from(layout, data, place)
    return tags


def _exif_orientation(block: bytes) -> int:
    try:
        return tiff_tags(block).get(ORIENTATION, (1,))[0]
    except struct.error:
        return 1  # a damaged EXIF block turns nothing; the decoder sees it the same way
