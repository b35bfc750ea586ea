"""What a detector costs beside its bare backbone, measured alternately in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn

from workers.detectors import clip_catalogue, patchcore_teaching
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig, unit_length
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector, ClipFile, Learned
from workers.detectors.backbone import Backbone
from workers.detectors.detector import Detector, Image
from workers.detectors.efficientnet_lite import build
from workers.detectors.good_patches import MOST_REMEMBERED, GoodPatches
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import beneath, fit
from workers.detectors.tail import Tails, parted
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.tail_training import begun

CLIP_SHAPES: Final = ("ViT-B-32", "ViT-B-16")
ROUNDS: Final = 20
TAUGHT: Final = 40  # noise images; with them PatchCore's bank has its full size
LABELLED: Final = 20  # noise images, every other one with a painted defect

Filled = TypeVar("Filled", bound=nn.Module)


@dataclass(frozen=True)
class ForwardCost:
    """Median milliseconds a call; ratio is the median over rounds, so that a busy machine cancels out."""

    bare_milliseconds: float
    detector_milliseconds: float
    ratio: float


def measure_all(rounds: int = ROUNDS) -> dict[str, ForwardCost]:
    """Each detector, one image at a time. The weights of CLIP's shapes are noise, and no score is given out."""
    base = patchcore_of_noise()
    costs = {"patchcore": measure_on_frames(base, base.eye.backbone, rounds)}
    for name, detector in (("supervised", supervised_of_noise(base)), ("supervised, tail", tailed(base))):
        costs[name] = measure_on_frames(detector, base.eye.backbone, rounds)
    for shape in CLIP_SHAPES:
        costs[f"anomalyclip {shape}"] = measure_anomalyclip(configuration(shape), rounds=rounds)
        costs[f"anomalyclip {shape}, memory"] = measure_remembering(configuration(shape), rounds=rounds)
    return costs


def measure_on_frames(detector: Detector, backbone: Backbone, rounds: int) -> ForwardCost:
    """From decoded image to prediction, against the backbone's features of the same image."""
    image = noise(TAUGHT, detector.image_size)
    return alternate(lambda: backbone.features(image), lambda: detector.predict([image]), rounds)


def patchcore_of_noise(image_size: int = PatchCoreConfiguration.image_size) -> PatchCore:
    frames = (noise(number, image_size) for number in range(TAUGHT))
    return patchcore_teaching.teach(frames, configuration=PatchCoreConfiguration(image_size=image_size))


def supervised_of_noise(base: PatchCore) -> SupervisedDetector:
    """With all members of the head and a summary, from painted labels; one step of training makes them no cheaper."""
    side = base.image_size
    labels = [painted(TAUGHT + 1 + number, side, is_anomaly=bool(number % 2)) for number in range(LABELLED)]
    return fit(base, labels, configuration=replace(beneath(base), epochs=1, least_steps=1))


def tailed(base: PatchCore) -> SupervisedDetector:
    """With all members of a tail as well, which are not fine-tuned: that changes weights, not what they cost."""
    below, configuration = supervised_of_noise(base), TailConfiguration()
    entry, _ = parted(build())
    tails = Tails(entry, [begun(configuration).eval() for _ in range(configuration.folds)]).requires_grad_(False)
    return SupervisedDetector(
        base,
        below.head,
        below.machine,
        below.configuration,
        replace(below.learned, fusion=replace(below.learned.fusion, tail_weight=1.0)),
        below.calibration,
        below.created_at,
        below.looker,
        tails.eval(),
    )


def noise(number: int, side: int) -> Image:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def painted(number: int, side: int, *, is_anomaly: bool) -> Labelled:
    """Noise, and where it is an anomaly a black square in the middle."""
    image, third = noise(number, side), side // 3
    if is_anomaly:
        image[third:-third, third:-third] = 0
    return Labelled(image, is_anomaly)


def configuration(shape: str) -> AnomalyCLIPConfig:
    """AnomalyCLIP over a model of open_clip, at the size the model was trained for."""
    described = clip_catalogue.shape(clip_catalogue.parse(shape))
    vision, text = described["vision_cfg"], described["text_cfg"]
    head_width = vision.get("head_width", 64)
    return AnomalyCLIPConfig(
        patch_size=vision["patch_size"],
        native_grid=vision["image_size"] // vision["patch_size"],
        image_size=vision["image_size"],
        vision_width=vision["width"],
        vision_layers=vision["layers"],
        vision_mlp_width=int(vision["width"] * vision.get("mlp_ratio", 4)),
        vision_head_width=head_width,
        text_width=text["width"],
        text_layers=text["layers"],
        text_mlp_width=int(text["width"] * text.get("mlp_ratio", 4)),
        text_head_width=text["width"] // text["heads"],
        context_length=text.get("context_length", 77),
        embedding_width=described["embed_dim"],
        dpam_layer=round(vision["layers"] * 20 / 24),
        features_list=(vision["layers"],),
    )


def measure_anomalyclip(config: AnomalyCLIPConfig, batch_size: int = 1, rounds: int = ROUNDS) -> ForwardCost:
    """Against open_clip's own visual tower of the same shape."""
    model, bare = _fill(AnomalyCLIP(config)), _fill(build_bare_tower(config))
    images = torch.randn(batch_size, 3, config.image_size, config.image_size)
    text = torch.randn(2, config.embedding_width)
    with torch.inference_mode():
        return alternate(lambda: bare(images), lambda: model(images, text), rounds)


def measure_remembering(config: AnomalyCLIPConfig, batch_size: int = 1, rounds: int = ROUNDS) -> ForwardCost:
    """With a full memory of good patches, against the same tower."""
    detector, bare = anomalyclip_of_noise(config), _fill(build_bare_tower(config))
    images = torch.randn(batch_size, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        return alternate(lambda: bare(images), lambda: detector.judge(detector.model.encode_image(images)), rounds)


def anomalyclip_of_noise(config: AnomalyCLIPConfig) -> AnomalyCLIPDetector:
    """With a full memory. For its time alone: there is no CLIP behind its weights, and no file of them."""
    no_file = ClipFile("noise", Path(), known_sha256="noise")
    return AnomalyCLIPDetector(_fill(AnomalyCLIP(config)), no_file, Learned(memory=memory_of_noise(config)))


def memory_of_noise(config: AnomalyCLIPConfig) -> GoodPatches:
    good = [torch.randn(MOST_REMEMBERED, config.embedding_width) for _ in config.features_list]
    return GoodPatches([unit_length(block) for block in good])


def alternate(bare: Callable[[], object], detector: Callable[[], object], rounds: int) -> ForwardCost:
    """Time both by turns, after two calls that pay for what is made once."""
    for _ in range(2):
        bare(), detector()
    pairs = [(_time(bare), _time(detector)) for _ in range(rounds)]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return ForwardCost(theirs, ours, ratio)


def build_bare_tower(config: AnomalyCLIPConfig) -> nn.Module:
    """open_clip's own visual tower of the same shape."""
    tower: nn.Module = VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch_size,
        width=config.vision_width,
        layers=config.vision_layers,
        heads=config.vision_width // config.vision_head_width,
        mlp_ratio=config.vision_mlp_width / config.vision_width,
        output_dim=config.embedding_width,
        act_layer=QuickGELU if config.activation == "quick_gelu" else nn.GELU,
    )
    return tower.eval()


def _fill(model: Filled) -> Filled:
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.02)
        for buffer in model.buffers():
            buffer.zero_()
    return model.eval()


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3
