"""Label Studio's run-length code for brushes: bits of runs over the four channels of an image.

Header: 32 bits for the number of values, 5 for the size of a value less one, four times 4 for the sizes of lengths
less one. Then runs: a bit (1: one value repeated, 0: values one by one), 2 bits which size of length, the length less
one, the value or values. As label_studio_sdk.converter.brush has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANNELS: Final = 4
VALUE_BITS: Final = 8
LENGTH_BITS: Final = (3, 4, 8, 16)


def runs_of(mask: NDArray[np.uint8] | NDArray[np.uint16]) -> list[int]:
    """(H, W) to bytes."""
    flat = np.repeat(mask.ravel(), CHANNELS)
    edges = [0, *(np.flatnonzero(np.diff(flat.astype(np.int16))) + 1).tolist(), len(flat)]
    bits = [f"{len(flat):032b}", f"{VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for start, end in pairwise(edges):
        for length in pieces(end - start):
            which = next(place for place, size in enumerate(LENGTH_BITS) if length <= 1 << size)
            bits.append(f"1{which:02b}{length - 1:0{LENGTH_BITS[which]}b}{int(flat[start]):0{VALUE_BITS}b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def pieces(length: int) -> list[int]:
    """Runs that a length can say."""
    longest = 1 << LENGTH_BITS[-1]
    return [longest] * (length // longest) + ([length % longest] if length % longest else [])


def brush_of(runs: Sequence[int], width: int, height: int) -> NDArray[np.bool_]:
    """Bytes to (H, W); ValueError when they are of another size."""
    bits = Bits("".join(f"{byte:08b}" for byte in runs))
    count, value_bits = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in LENGTH_BITS]
    if count != CHANNELS * width * height:
        raise ValueError(f"a brush of {count // CHANNELS} pixels on an image of {width}x{height}")
    flat = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = place + 1 + bits.take(sizes[bits.take(2)])
        flat[place:end] = bits.take(value_bits) if repeated else [bits.take(value_bits) for _ in range(end - place)]
        place = end
    return np.asarray(flat.reshape(height, width, CHANNELS)[..., -1] > 0)


class Bits:
    """Read from the left."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def take(self, count: int) -> int:
        taken = self.text[self.place : self.place + count]
        if len(taken) < count:
            raise ValueError("the run-length code ends too early")
        self.place += count
        return int(taken, 2)
