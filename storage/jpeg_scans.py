"""Finds JPEGs whose coded pixels are missing or altered: decoders only warn, and hand over grey where they ran out.

Neither a length nor a checksum is in a JPEG, but each scan holds as many blocks as the image has, to the bit. So what
comes after a scan must not matter to the picture (else the scan ran out of data), and the end of a scan must matter
(else its blocks were complete before, and something in between is not what was written).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from storage.errors import ImageUnreadable
from storage.image_header import is_jpeg_frame, jpeg_marker

START_OF_IMAGE: Final = b"\xff\xd8"
END_OF_IMAGE: Final = 0xD9
START_OF_SCAN: Final = 0xDA
QUANTIZATION: Final = 0xDB
RESTART_INTERVAL: Final = 0xDD
NOT_NEEDED: Final = (*range(0xE0, 0xF0), 0xFE)
"""Application segments and comments: another decoder need not agree with them."""
RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

TAIL_BYTES: Final = 64
"""Some cameras leave a few bytes between a scan and the next marker; so many are forgiven."""
BETWEEN_BYTES: Final = 256
"""There may be thousands of restart intervals."""
REDUCED: Final = 8
FINE, COARSE = 255, 16
"""Quantization under which the smallest change of a coefficient is seen: of all but the first, of the first."""
NOISE: Final = [
    np.random.default_rng(seed).integers(0, 255, 4096, np.uint8).tobytes()  # no 0xFF: it would be a marker
    for seed in range(3)
]


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan of a JPEG: its header segment and its coded pixels."""

    header: bytes
    coded: bytes
    interval: int
    """Units between two restart markers; 0 is none."""

    @property
    def components(self) -> bytes:
        return self.header[5 : 5 + 2 * self.header[4] : 2]

    @property
    def coefficients(self) -> range:
        first, last = self.header[-3:-1]
        return range(first, last + 1)

    @property
    def bits_before(self) -> int:
        """How many bits of these coefficients' precision earlier scans left to this one and later ones; 0 is all."""
        return self.header[-1] >> 4

    @property
    def bits_left(self) -> int:
        return self.header[-1] & 15

    def ending_in(self, noise: bytes, size: int) -> Scan:
        ending = (noise * (size // len(noise) + 1))[:size]
        return replace(self, coded=self.coded[: len(self.coded) - size].rstrip(b"\xff") + ending)

    def followed_by(self, noise: bytes) -> Scan:
        """Each restart interval is a scan of its own, as far as running out goes."""
        between = noise[:BETWEEN_BYTES]
        return replace(self, coded=RESTART.sub(lambda marker: between + marker[0], self.coded) + noise)


@dataclass(frozen=True)
class Coded:
    """A JPEG, cut into its scans and the tables before each; what does not matter to the pixels is left out."""

    parts: tuple[bytes | Scan, ...]
    frame: bytes
    """The segment that says size and components."""

    @property
    def is_sequential(self) -> bool:
        return self.frame[1] in (0xC0, 0xC1)

    @property
    def scans(self) -> list[Scan]:
        return [part for part in self.parts if isinstance(part, Scan)]

    @property
    def sampling(self) -> dict[int, tuple[int, int]]:
        """Blocks of each component in a unit of all of them, across and down."""
        return {self.frame[at]: (self.frame[at + 1] >> 4, self.frame[at + 1] & 15) for at in self.components}

    @property
    def components(self) -> range:
        return range(10, len(self.frame), 3)

    def with_scan(self, old: Scan, new: Scan) -> Coded:
        return replace(self, parts=tuple(new if part is old else part for part in self.parts))

    def followed_by(self, noise: bytes) -> Coded:
        return replace(self, parts=tuple(p.followed_by(noise) if isinstance(p, Scan) else p for p in self.parts))

    def requantized(self, first: int | None, others: int) -> Coded:
        """Other pixels of the same coded ones; None leaves the first coefficients' quantization as it is."""
        return replace(self, parts=tuple(requantized(p, first, others) for p in self.parts))

    def picture(self, reduced: bool) -> bytes | None:
        """The pixels, whatever they look like; None when it cannot be decoded."""
        body = b"".join(part.header + part.coded if isinstance(part, Scan) else part for part in self.parts)
        try:
            image = JpegImageFile(io.BytesIO(START_OF_IMAGE + body + bytes((0xFF, END_OF_IMAGE))))
            if reduced:
                grey = "L" if len(self.scans) == 1 else image.mode
                image.draft(grey, (max(1, image.width // REDUCED), max(1, image.height // REDUCED)))
            return image.tobytes()
        except (OSError, SyntaxError, ValueError):
            return None

    def units(self, scan: Scan) -> tuple[int, int]:
        """How many units the scan has, and how many blocks each: a component alone has no more than its pixels need."""
        height, width = struct.unpack_from(">HH", self.frame, 5)
        most_across, most_down = (max(sides) for sides in zip(*self.sampling.values(), strict=True))
        if len(scan.components) > 1:
            blocks = sum(across * down for across, down in map(self.sampling.__getitem__, scan.components))
            return ceil(width / (8 * most_across)) * ceil(height / (8 * most_down)), blocks
        across, down = self.sampling[scan.components[0]]
        return ceil(ceil(width * across / most_across) / 8) * ceil(ceil(height * down / most_down) / 8), 1


def check_scans(data: bytes) -> None:
    """Raise ImageUnreadable when coded pixels of the JPEG are missing or altered."""
    try:
        _check(cut(data).requantized(None, FINE))
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ImageUnreadable(f"the JPEG is corrupt: a segment contradicts the others ({error})") from error


def _check(coded: Coded) -> None:
    _check_all_sent(coded)
    for scan in coded.scans:
        _check_restarts(coded, scan)
        _check_plain_bits(coded, scan)
    # One eighth of the size shows each block's mean, which is what a sequential scan begins a block with.
    picture = coded.picture(coded.is_sequential)
    if picture is None:
        return  # the other decoder has the last word
    if coded.followed_by(NOISE[0]).picture(coded.is_sequential) != picture:
        raise ImageUnreadable("the JPEG is corrupt: coded pixels are missing")
    for scan in coded.scans:
        if is_counted(scan):
            continue
        last = max((found.end() for found in RESTART.finditer(scan.coded)), default=0)
        if len(scan.coded) - last > TAIL_BYTES and not _end_matters(coded, scan, picture, len(scan.coded) - last):
            raise ImageUnreadable("the JPEG is corrupt: more coded pixels than its size takes")


def _end_matters(coded: Coded, scan: Scan, picture: bytes, size: int) -> bool:
    """Also said when nothing in the scan does: all of a black image may be of the same few bits."""
    if coded.with_scan(scan, scan.ending_in(NOISE[0], TAIL_BYTES)).picture(coded.is_sequential) != picture:
        return True
    is_sensitive = False
    for seen in (coded, coded.requantized(COARSE, FINE)):
        whole = seen.picture(reduced=False)
        for noise in NOISE:
            if seen.with_scan(scan, scan.ending_in(noise, TAIL_BYTES)).picture(reduced=False) != whole:
                return True
            is_sensitive |= seen.with_scan(scan, scan.ending_in(noise, size)).picture(reduced=False) != whole
    return not is_sensitive


def cut(data: bytes) -> Coded:
    parts: list[bytes | Scan] = []
    frame, interval = b"", 0
    for marker, segment, coded in _segments(data):
        if is_jpeg_frame(marker):
            frame = segment
        elif marker == RESTART_INTERVAL:
            (interval,) = struct.unpack_from(">H", segment, 4)
        if marker == START_OF_SCAN:
            parts.append(Scan(segment, coded, interval))
        elif marker not in NOT_NEEDED:
            parts.append(segment)
    return Coded(tuple(parts), frame)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, segment from its marker on, and what is coded after it."""
    marker, at = jpeg_marker(data, 2)
    while marker != END_OF_IMAGE:
        end = at + struct.unpack_from(">H", data, at)[0]
        after = end
        if marker == START_OF_SCAN and (found := AFTER_SCAN.search(data, end)):
            after = found.start()
        yield marker, bytes((0xFF, marker)) + data[at:end], data[end:after].rstrip(b"\xff")
        marker, at = jpeg_marker(data, after)


def requantized(part: bytes | Scan, first: int | None, others: int) -> bytes | Scan:
    if isinstance(part, Scan) or part[1] != QUANTIZATION:
        return part
    tables, at = bytearray(part), 4
    while at < len(tables):
        size = 2 if tables[at] >> 4 else 1
        if first is not None:
            tables[at + 1 : at + 1 + size] = first.to_bytes(size, "big")
        tables[at + 1 + size : at + 1 + 64 * size] = others.to_bytes(size, "big") * 63
        at += 1 + 64 * size
    return bytes(tables)


def _check_restarts(coded: Coded, scan: Scan) -> None:
    numbers = [marker[0][1] - 0xD0 for marker in RESTART.finditer(scan.coded)]
    units, _ = coded.units(scan)
    wanted = ceil(units / scan.interval) - 1 if scan.interval else 0
    if len(numbers) < wanted or numbers != [place % 8 for place in range(len(numbers))]:
        raise ImageUnreadable(f"the JPEG is corrupt: {len(numbers)} of {wanted} restart markers, or not in their order")


def is_counted(scan: Scan) -> bool:
    return 0 in scan.coefficients and scan.bits_before > 0


def _check_plain_bits(coded: Coded, scan: Scan) -> None:
    """A later bit of each block's mean stands there as it is: what is missing of such bits may not be seen."""
    if not is_counted(scan) or scan.interval:
        return
    units, blocks = coded.units(scan)
    wanted, found = ceil(units * blocks / 8), len(scan.coded.replace(b"\xff\0", b"\xff"))
    if not wanted <= found <= wanted + TAIL_BYTES:
        raise ImageUnreadable(f"the JPEG is corrupt: a scan of {wanted} bytes has {found}")


def _check_all_sent(coded: Coded) -> None:
    """A progressive JPEG sends each coefficient in several scans, from the coarse to the fine."""
    missing = {(component, place) for component in coded.sampling for place in range(64)}
    for scan in coded.scans:
        if scan.bits_left == 0:
            missing -= {(component, place) for component in scan.components for place in scan.coefficients}
    if missing:
        raise ImageUnreadable("the JPEG is truncated: it ends before its last scan")
