"""What AnomalyCLIP's visual tower says of an image, as it is kept. The tower is frozen: to look once is enough."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import torch
from numpy.typing import NDArray

from workers.detectors.anomalyclip import AnomalyCLIPConfig, ImageFeatures
from workers.detectors.halved import Arrays, halved

COMPUTED_AS: Final = 1
"""To be raised when preprocessing or the visual tower computes something else of the same image."""

NOT_SEEN_WITH: Final = frozenset(
    {
        "text_width",
        "text_layers",
        "text_mlp_width",
        "text_head_width",
        "context_length",
        "class_name",
        "normal_template",
        "abnormal_template",
        "n_ctx",
        "depth",
        "t_n_ctx",
        "compound_precision",
        "temperature",
        "map_fusion",
        "sigma",
        "truncate",
    }
)
"""Settings of the text side and of the scores. One that is not named here changes the key: then too much is looked at
again, and nothing is taken for what it is not."""

IMAGE, PATCHES = "image", "patches."


def key_of(config: AnomalyCLIPConfig, clip_sha256: str) -> str:
    """Which features these are, for a cache: of this CLIP's weights, looked with in this way, whatever the prompts."""
    seen_with = {name: value for name, value in sorted(config.to_dict().items()) if name not in NOT_SEEN_WITH}
    return sha256(f"anomalyclip {COMPUTED_AS} {clip_sha256} {seen_with}".encode()).hexdigest()[:16]


def packed(features: ImageFeatures) -> Arrays:
    """In half precision, 2 MB an image for ViT-L/14 at 518 pixels; what half precision cannot hold stays in single.

    What is learned from them must be learned from `unpacked` ones, the first time too: then it is the same each time.
    """
    named = {IMAGE: features.image, **{f"{PATCHES}{place}": one for place, one in enumerate(features.patches)}}
    return {name: halved(tensor) for name, tensor in named.items()}


def unpacked(kept: Mapping[str, NDArray[Any]]) -> ImageFeatures:
    """What `packed` gave, in single precision."""
    blocks = [kept[f"{PATCHES}{place}"] for place in range(len(kept) - 1)]
    image, *patches = (torch.from_numpy(one).float() for one in (kept[IMAGE], *blocks))
    return ImageFeatures(image, patches)
