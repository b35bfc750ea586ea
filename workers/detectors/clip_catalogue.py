"""Which CLIP weights there are and where they come from: open_clip's own tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from storage.errors import DownloadFailed, ModelConfigurationWrong
from workers.detectors.clip_name import ClipName, spelled

PLAIN_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "patch_dropout"}
PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
PLAIN = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14", "ViT-bigG-14")
"""Some that can be stood on."""


@dataclass(frozen=True)
class Source:
    """Where a file of weights is published; sha256 may be its first digits alone, or unknown."""

    url: str
    file_name: str
    sha256: str | None


def parse(name: str) -> ClipName:
    """Read MODEL:TAG, MODEL (OpenAI's weights) or OpenAI's own spelling, such as ViT-L/14@336px."""
    clip = spelled(name)
    if open_clip.get_model_config(clip.model) is None:
        vits = [known for known in open_clip.list_models() if re.fullmatch(r"ViT-[BLHg]-\d+(-\d+)?", known)]
        raise ModelConfigurationWrong(f"{name}: not a model of open_clip; allowed for example {', '.join(vits)}")
    return clip


def shape(name: ClipName) -> dict[str, Any]:
    """open_clip's description of the model: embed_dim, vision_cfg, text_cfg."""
    config: dict[str, Any] = open_clip.get_model_config(name.model)
    return config


def choices(name: ClipName) -> dict[str, Any]:
    """The settings of AnomalyCLIPConfig that the weights' shapes do not tell."""
    config = shape(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if oddities := unlike_clip(config):
        raise ModelConfigurationWrong(
            f"{name}: given {', '.join(oddities)}; allowed: CLIP's plain transformers, such as {', '.join(PLAIN)}"
        )
    weights = get_pretrained_cfg(name.model, name.tag)
    quick = config.get("quick_gelu", False) or weights.get("quick_gelu", False)
    found = {
        "activation": "quick_gelu" if quick else "gelu",
        "vision_head_width": vision.get("head_width", 64),
        "text_head_width": text["width"] // text["heads"],
    }
    return found | {key: list(weights[key]) for key in ("mean", "std") if key in weights}


def unlike_clip(config: Mapping[str, Any]) -> list[str]:
    """What AnomalyCLIP and PatchCore cannot stand on, in a description of open_clip's; nothing for a plain CLIP."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:  # SigLIP, EVA, ConvNeXt, MobileCLIP, ViTamin, PE: other blocks and other keys
        return [f"a visual tower of timm ({vision['timm_model_name']})"]
    if not isinstance(vision["layers"], int):
        return ["a visual tower of residual stages"]
    extras = sorted((set(vision) - PLAIN_VISION) | (set(text) - PLAIN_TEXT) | ({"custom_text"} & set(config)))
    return [f"towers with {', '.join(extras)}"] if extras else []


def source(name: ClipName) -> Source:
    """Where the weights are; asks the hub for its hash when they are there."""
    entry = get_pretrained_cfg(name.model, name.tag)
    if not entry:
        tags = ", ".join(list_pretrained_tags_by_model(name.model)) or "none"
        raise ModelConfigurationWrong(f"{name}: open_clip knows no such weights; tags of {name.model}: {tags}")
    url = entry.get("url", "")
    if url and (name.tag == "openai" or not entry.get("hf_hub")):
        return Source(url, url.rsplit("/", 1)[1], hash_in(url))
    return _hub_source(name, entry["hf_hub"])


def hash_in(url: str) -> str | None:
    """OpenAI's hash is the folder in the URL; open_clip's releases end in the first eight digits of theirs."""
    folder, file_name = url.rsplit("/", 2)[-2:]
    if re.fullmatch(r"[0-9a-f]{64}", folder):
        return folder
    ending = re.search(r"-([0-9a-f]{8,64})\.\w+$", file_name)
    return ending.group(1) if ending else None


def _hub_source(name: ClipName, place: str) -> Source:
    # Here and not above: an air-gapped plant never needs the hub's client.
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, file_name = place.rpartition("/")
    for candidate in [file_name] if file_name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        url = hf_hub_url(repository, candidate)
        try:
            etag = get_hf_file_metadata(url).etag or ""
        except EntryNotFoundError:
            continue
        except Exception as error:  # the client lets its HTTP library's errors through, whichever that is today
            raise DownloadFailed(f"{url}: {error}") from error
        return Source(url, candidate, etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None)
    raise DownloadFailed(f"{name}: {repository} holds neither {HF_SAFE_WEIGHTS_NAME} nor {HF_WEIGHTS_NAME}")
