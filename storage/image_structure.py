"""Finds half-written and damaged image files: a decoder may hand over half a picture and the rest grey."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from storage.errors import ImageUnreadable
from storage.image_header import PNG_SIGNATURE, jpeg_marker, tiff_tags

END_OF_IMAGE: Final = 0xD9
START_OF_SCAN: Final = 0xDA
JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In the coded pixels 0xFF is followed by 0 or is a restart marker; anything else ends the scan."""

DEFLATE: Final = (8, 32946)
READ_BYTES, UNPACKED_BYTES = 1 << 16, 1 << 22
LARGE_TILE_PIXELS: Final = 1 << 22
"""A tile may be larger than a small image, but not without end."""


def check_complete(data: bytes, media_type: str) -> None:
    """Raise ImageUnreadable when the file lacks its end or contradicts its own checksums."""
    try:
        CHECKS[media_type](data)
    except (struct.error, IndexError) as error:
        raise ImageUnreadable(f"the image is truncated: {len(data)} bytes are not all of it") from error


def _check_jpeg(data: bytes) -> None:
    at = 2
    while True:
        marker, at = jpeg_marker(data, at)
        if marker == END_OF_IMAGE:
            return
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD8:
            raise ImageUnreadable(f"the JPEG is corrupt: marker {marker:02x} at byte {at - 1}")
        at += struct.unpack_from(">H", data, at)[0]
        if marker == START_OF_SCAN:
            found = JPEG_MARKER.search(data, at)
            if found is None:
                raise ImageUnreadable(f"the JPEG is truncated: no end after {len(data)} bytes")
            at = found.start()


def _check_png(data: bytes) -> None:
    view, at, kind = memoryview(data), len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise ImageUnreadable(f"the PNG is corrupt: checksum of {kind.decode('latin-1')} at byte {at}")
        at += length + 12


def _check_bmp(data: bytes) -> None:
    (pixels_at, header_size) = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    row = (width * bits + 31) // 32 * 4
    if compression in (0, 3) and len(data) < pixels_at + row * abs(height):
        raise ImageUnreadable(f"the BMP is truncated: {len(data)} of {pixels_at + row * abs(height)} bytes")


def _check_tiff(data: bytes) -> None:
    tags = tiff_tags(data)
    offsets, sizes = tags.get(273) or tags.get(324, ()), tags.get(279) or tags.get(325, ())
    if not offsets or len(offsets) != len(sizes):
        raise ImageUnreadable("the TIFF is corrupt: it does not say where its pixels are")
    piece_bytes, pieces = _tiff_pieces(tags)
    for offset, size in list(zip(offsets, sizes, strict=True))[:pieces]:
        if size == 0 or offset + size > len(data):
            raise ImageUnreadable(f"the TIFF is truncated: pixels up to byte {offset + size} of {len(data)}")
        if tags.get(259, (1,))[0] in DEFLATE:
            _check_deflated(memoryview(data)[offset : offset + size], piece_bytes)


def _tiff_pieces(tags: Mapping[int, tuple[int, ...]]) -> tuple[int, int]:
    """How large a strip or tile is when unpacked, at most, and how many of them hold the image."""
    (width, height), (samples,) = (tags[256][0], tags[257][0]), tags.get(277, (1,))[:1]
    across, down = (tags[322][0], tags[323][0]) if 322 in tags and 323 in tags else (width, tags.get(278, (height,))[0])
    if across < 1 or down < 1:
        raise ImageUnreadable(f"the TIFF is corrupt: tiles of {across}x{down} pixels")
    if 322 not in tags:
        down = min(down, height)
    elif across * down > max(4 * width * height, LARGE_TILE_PIXELS):
        raise ImageUnreadable(f"the TIFF is corrupt: tiles of {across}x{down} pixels for an image of {width}x{height}")
    planes = samples if tags.get(284, (1,))[0] == 2 else 1
    row_bytes = -(-across * samples * max(tags.get(258, (1,))) // 8)
    return down * row_bytes, -(-width // across) * -(-height // down) * planes


def _check_deflated(piece: memoryview, maximum_bytes: int) -> None:
    """Unpack it, but not further than it may go: a small file can hold gigabytes of zeros."""
    inflater, unpacked = zlib.decompressobj(), 0
    try:
        for at in range(0, len(piece), READ_BYTES):
            part = bytes(piece[at : at + READ_BYTES])
            while part and not inflater.eof:
                unpacked += len(inflater.decompress(part, UNPACKED_BYTES))
                part = inflater.unconsumed_tail
                if unpacked > maximum_bytes + READ_BYTES:  # some writers fill up
                    raise ImageUnreadable(f"the TIFF is corrupt: over {unpacked} bytes where {maximum_bytes} belong")
    except zlib.error as error:
        raise ImageUnreadable(f"the TIFF is corrupt: {error}") from error
    if not inflater.eof:
        raise ImageUnreadable("the TIFF is truncated: a compressed strip has no end")


CHECKS: Final = {"image/jpeg": _check_jpeg, "image/png": _check_png, "image/bmp": _check_bmp, "image/tiff": _check_tiff}
