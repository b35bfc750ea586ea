"""How the prompts of our own training were learned: the settings that model.yaml tells and the tensors do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from storage.errors import ModelAltered, ModelError
from storage.model_files import file_sha256
from workers.detectors.artefact import DESCRIPTION, WEIGHTS, recorded_hashes

SCORED_WITH = (
    *("image_size", "image_interpolation", "position_interpolation"),
    *("class_name", "normal_template", "abnormal_template", "compound_precision"),
    *("dpam_layer", "features_list", "ln_post_on_image_feature"),
    *("temperature", "map_fusion", "sigma", "truncate"),
)
"""The settings of AnomalyCLIPConfig that are neither the CLIP's nor told by the prompts' shapes."""


def settings_beside(weights: Path) -> dict[str, Any]:
    """Those in the model.yaml beside these weights; none without one, as for published prompts.

    ModelAltered when it was written for other weights: prompts scored with others' settings give other scores.
    """
    file = weights.with_name(DESCRIPTION)
    if not file.is_file():
        return {}
    content = file.read_bytes()
    wanted, found = recorded_hashes(content).get(WEIGHTS, "no weights"), file_sha256(weights)
    if wanted != found:
        raise ModelAltered(weights, wanted, found)
    try:
        configuration = yaml.safe_load(content)["configuration"]
        return {name: configuration[name] for name in SCORED_WITH}
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: not the description of an AnomalyCLIP: it has no {error}") from error
