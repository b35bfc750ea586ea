"""What is learned of frames before a label is looked at: along which directions patches differ most, and what is usual.

A few more frames hardly change it. While it is kept, what head and machine learn from is known of each frame, and need
not be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Self

import torch
from torch import Tensor

from workers.detectors.head_reduction import MOST_DIRECTIONS, Directions
from workers.detectors.summariser import FOLDS, Summariser
from workers.detectors.summary import Whitening
from workers.detectors.summary_machine import SummaryMachine

COMPUTED, COMPUTED_AS = "computed_as", 1
"""To be raised when directions, folds or summaries are computed otherwise."""


@dataclass(frozen=True)
class Representation:
    along: list[Directions]
    summariser: Summariser

    @cached_property
    def key(self) -> str:
        """Which it is, for a cache."""
        own = self.summariser
        whole = {**self.tensors(), **own.whitening._asdict(), "centre": own.centre, "scale": own.scale}
        hashed = sha256()
        for name, tensor in sorted(whole.items()):
            hashed.update(f"{name} {tuple(tensor.shape)};".encode())
            hashed.update(tensor.numpy().tobytes())
        return hashed.hexdigest()[:16]

    def tensors(self) -> dict[str, Tensor]:
        """For the artefact: what the machine that reads summaries does not keep already."""
        named: dict[str, Directions | Whitening] = {f"along.{number}": one for number, one in enumerate(self.along)}
        named |= {f"without.{fold}": one for fold, one in enumerate(self.summariser.without)}
        found = {f"{name}.{field}": one for name, some in named.items() for field, one in some._asdict().items()}
        return {COMPUTED: torch.tensor(COMPUTED_AS), **found}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], machine: SummaryMachine) -> Self | None:
        """From what `tensors` gave; None for a model of another version, which represented frames otherwise."""
        if COMPUTED not in tensors or int(tensors[COMPUTED]) != COMPUTED_AS:
            return None

        def fields(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {key.removeprefix(start): one for key, one in tensors.items() if key.startswith(start)}

        along = [Directions(**fields(f"along.{number}")) for number in range(len(MOST_DIRECTIONS))]
        without = [Whitening(**fields(f"without.{fold}")) for fold in range(FOLDS)]
        return cls(along, Summariser(machine.whitening, without, machine.tensors["centre"], machine.tensors["scale"]))
