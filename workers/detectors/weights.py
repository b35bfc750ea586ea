"""How weights get into the models folder: pulled or imported once, checked, kept as safetensors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml
from torch import Tensor

from storage.errors import DownloadFailed, ModelConfigurationWrong, WeightsMissing, WeightsUnreadable
from workers.detectors import clip_catalogue, weight_files
from workers.detectors.anomalyclip import AnomalyCLIPConfig, check_numbers, describe_prompts
from workers.detectors.clip_catalogue import Source
from workers.detectors.clip_name import ClipName
from workers.detectors.download import ProgressReport, download, sha256_of
from workers.detectors.learned_configuration import settings_beside
from workers.detectors.weight_files import WeightFile
from workers.detectors.weight_folder import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    StoredWeights,
    WeightKind,
    find_clip,
    folder_of,
    offline_instruction,
)

OPENAI_VITS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")


def _no_report(here: int, total: int | None) -> None:
    """Nobody watches."""


def pull(
    name: str, models_folder: Path, report: ProgressReport = _no_report, source: Source | None = None
) -> StoredWeights:
    """Fetch CLIP weights by name into the models folder; source: from there instead of where open_clip says."""
    clip = clip_catalogue.parse(name)
    clip_catalogue.choices(clip)  # refuses an unsuitable model before a gigabyte is fetched, not after
    if here := _find_intact(clip, models_folder):
        return here
    try:
        source = source or clip_catalogue.source(clip)
        archive = download(
            source.url, models_folder / "downloads" / clip.folder / source.file_name, source.sha256, report
        )
    except DownloadFailed as error:
        raise DownloadFailed(f"{error}\n{offline_instruction(clip)}") from error
    stored = import_file(archive, models_folder, str(clip))
    archive.unlink()
    return stored


def _find_intact(clip: ClipName, models_folder: Path) -> StoredWeights | None:
    try:
        stored = find_clip(str(clip), models_folder)
    except WeightsMissing:
        return None
    return stored if sha256_of(stored.file) == stored.sha256 else None


def import_file(path: Path, models_folder: Path, name: str | None = None) -> StoredWeights:
    """Take a file of CLIP weights or of learned prompts into the models folder, as safetensors.

    name: MODEL:TAG for CLIP weights (OpenAI's own are recognised without it), any name for prompts. Those of our own
    training keep the settings they were learned with when model.yaml lies beside them.
    """
    content = weight_files.read(path)
    check_numbers(content.weights)
    if content.kind is WeightKind.PROMPTS:
        kept = {
            key: value for key, value in content.weights.items() if not key.startswith("compound_prompt_projections.")
        }
        told = settings_beside(path) if content.from_training else {}
        return store(content.kind, name or path.stem, kept, describe_prompts(kept) | told, path, models_folder)
    clip = clip_catalogue.parse(name) if name else recognise(path, content)
    choices = clip_catalogue.choices(clip)
    shape = AnomalyCLIPConfig.for_clip(content.weights, **choices)  # says what is wrong with unfit weights
    _check_model(clip, shape)
    return store(content.kind, str(clip), content.weights, choices, path, models_folder)


def recognise(path: Path, content: WeightFile) -> ClipName:
    """The name of OpenAI's weights by their shape; others share shapes and differ in what shapes do not tell."""
    if not content.from_openai:
        raise ModelConfigurationWrong(
            f"{path}: the file does not say which activation its weights were trained with; "
            "give its open_clip name, such as --name ViT-B-32:laion2b_s34b_b79k"
        )
    shape = AnomalyCLIPConfig.for_clip(content.weights)
    for model in OPENAI_VITS:
        clip = ClipName(model, "openai")
        if _expected_shape(clip) == _shape(shape):
            return clip
    raise ModelConfigurationWrong(
        f"{path}: of no shape that OpenAI published; give its open_clip name with --name MODEL:TAG"
    )


def _check_model(clip: ClipName, shape: AnomalyCLIPConfig) -> None:
    expected, given = _expected_shape(clip), _shape(shape)
    wrong = [
        f"{key}: given {given[key]}, {clip.model} has {expected[key]}"
        for key in expected
        if given[key] != expected[key]
    ]
    if wrong:
        raise WeightsUnreadable(f"the weights are not those of {clip}: {'; '.join(wrong)}")


def _expected_shape(clip: ClipName) -> dict[str, int]:
    config = clip_catalogue.shape(clip)
    vision, text = config["vision_cfg"], config["text_cfg"]
    return {
        "vision_width": vision["width"],
        "vision_layers": vision["layers"],
        "patch_size": vision["patch_size"],
        "native_grid": vision["image_size"] // vision["patch_size"],
        "text_width": text["width"],
        "text_layers": text["layers"],
        "embedding_width": config["embed_dim"],
    }


def _shape(config: AnomalyCLIPConfig) -> dict[str, int]:
    names = (
        "vision_width",
        "vision_layers",
        "patch_size",
        "native_grid",
        "text_width",
        "text_layers",
        "embedding_width",
    )
    return {name: getattr(config, name) for name in names}


def store(
    kind: WeightKind,
    name: str,
    weights: Mapping[str, Tensor],
    choices: dict[str, Any],
    origin: Path,
    models_folder: Path,
) -> StoredWeights:
    """Keep weights under their name; choices: what neither their shapes nor their names tell."""
    folder = folder_of(kind, name, models_folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / WEIGHTS_FILE
    # Written aside and renamed, description last: weights that are found are whole.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        safetensors.torch.save_file(dict(weights), Path(aside) / WEIGHTS_FILE)
        sha256 = sha256_of(Path(aside) / WEIGHTS_FILE)
        description = {
            "kind": kind.value,
            "name": name,
            "sha256": sha256,
            "imported_from": origin.name,
            "imported_sha256": sha256_of(origin),
            "choices": choices,
        }
        (Path(aside) / DESCRIPTION_FILE).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
        os.replace(Path(aside) / WEIGHTS_FILE, file)
        os.replace(Path(aside) / DESCRIPTION_FILE, folder / DESCRIPTION_FILE)
    return StoredWeights(kind, name, file, sha256, choices)
