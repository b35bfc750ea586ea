"""Where a training stands after an epoch: learned tensors, the optimiser's memory and the history, without a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from storage.errors import TeachingFailed

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class EpochRecord:
    """The mean losses of one epoch and, where parts were held out, how well it told those apart."""

    epoch: int
    classification: float
    anomaly: float
    contrastive: float
    total: float
    held_out_auroc: float | None = None


def save(
    folder: Path,
    learned: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: Sequence[EpochRecord],
    terms: Mapping[str, Any],
) -> None:
    """Keep the state after an epoch; terms: what has to be the same for this to be continued."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"learned.{name}": p.detach().cpu().contiguous() for name, p in learned.named_parameters()}
    for index, memory in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value).cpu() for key, value in memory.items()}
    notes = {"history": json.dumps([asdict(record) for record in history]), "terms": _as_text(terms)}
    aside = folder / f"{CHECKPOINT_FILE}.part"
    safetensors.torch.save_file(tensors, aside, metadata=notes)
    os.replace(aside, folder / CHECKPOINT_FILE)  # a crash leaves the epoch before whole


def resume(
    folder: Path, learned: nn.Module, optimiser: torch.optim.Optimizer, terms: Mapping[str, Any]
) -> list[EpochRecord]:
    """Put the kept state back and return the history; nothing kept: an empty history."""
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        return []
    notes, tensors = _read(file)
    _check_terms(file, notes["terms"], terms)
    _check_tensors(file, tensors, learned)
    _restore_learned(learned, tensors)
    _restore_optimiser(optimiser, tensors)
    return _records(notes)


def history(folder: Path) -> list[EpochRecord]:
    """The epochs that are kept there."""
    notes, _ = _read(folder / CHECKPOINT_FILE)
    return _records(notes)


def _records(notes: Mapping[str, str]) -> list[EpochRecord]:
    return [EpochRecord(**record) for record in json.loads(notes["history"])]


def _read(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(file, framework="pt") as kept:
            notes = kept.metadata() or {}
            tensors = {key: kept.get_tensor(key) for key in kept.keys()}  # safe_open is no mapping
    except safetensors.SafetensorError as error:
        raise TeachingFailed(f"{file} is damaged: {error}; remove it to begin anew") from error
    missing = [name for name in ("history", "terms") if name not in notes]
    if missing:
        raise TeachingFailed(f"{file} is no checkpoint of a training: it has no {', '.join(missing)}")
    return notes, tensors


def _check_tensors(file: Path, tensors: Mapping[str, Tensor], learned: nn.Module) -> None:
    kept = {
        key.removeprefix("learned."): tuple(one.shape) for key, one in tensors.items() if key.startswith("learned.")
    }
    needed = {name: tuple(parameter.shape) for name, parameter in learned.named_parameters()}
    if kept != needed:
        wrong = [
            f"{name}: given {kept.get(name)}, needed {needed.get(name)}"
            for name in sorted(kept.keys() | needed.keys())
            if kept.get(name) != needed.get(name)
        ]
        raise TeachingFailed(f"{file} holds tensors of other shapes: {'; '.join(wrong[:3])}")


def _as_text(terms: Mapping[str, Any]) -> str:
    return json.dumps(terms, sort_keys=True)


def _check_terms(file: Path, kept: str, now: Mapping[str, Any]) -> None:
    before, asked = json.loads(kept), json.loads(_as_text(now))
    changed = [
        f"{key}: was {before.get(key)}, is {asked.get(key)}" for key in asked if before.get(key) != asked.get(key)
    ]
    if changed:
        raise TeachingFailed(f"{file} belongs to another training ({'; '.join(changed)}); use another folder")


def _restore_learned(learned: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in learned.named_parameters():
            parameter.copy_(tensors[f"learned.{name}"])


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
