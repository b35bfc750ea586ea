from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from cli.model import app
from storage.errors import ConformanceFailed, ModelShapeWrong, SettingsError, WeightsUnreadable
from tests.unit import tiny_clip
from tests.unit.naive_anomalyclip import Naive, NaiveAnomalyCLIP, gaussian
from tests.unit.naive_anomalyclip import losses as naive_losses
from tests.unit.tiny_clip import Shape
from workers.detectors import anomalyclip_losses, conformance, prompts
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig, smooth
from workers.detectors.detector import Prediction
from workers.detectors.forward_cost import (
    ForwardCost,
    alternate,
    build_bare_tower,
    configuration,
    measure_anomalyclip,
    measure_on_frames,
    measure_remembering,
    patchcore_of_noise,
    supervised_of_noise,
    tailed,
)
from workers.detectors.tolerance import Tolerance

CASE = Path(__file__).parents[1] / "fixtures" / "reference_case.pt"

VARIANTS: list[tuple[Shape, dict[str, Any]]] = [
    (Shape(), {"image_size": 32, "dpam_layer": 2, "features_list": (3,)}),
    (Shape(), {"image_size": 48, "dpam_layer": 1, "features_list": (1, 3)}),
    (Shape(), {"image_size": 45, "dpam_layer": 3, "features_list": (1, 2)}),
    (Shape(vision_layers=5), {"image_size": 64, "dpam_layer": 6, "features_list": (1, 3, 5), "sigma": 2.0}),
    (Shape(vision_width=128, patch=16, native_grid=2), {"image_size": 80, "dpam_layer": 3, "features_list": (2, 3)}),
    (Shape(text_width=128, text_layers=4), {"image_size": 24, "dpam_layer": 2, "depth": 3, "t_n_ctx": 2, "n_ctx": 5}),
    (Shape(), {"image_size": 40, "activation": "gelu", "sigma": 0.0, "depth": 1, "temperature": 0.1}),
]
NAMES = [f"{s.vision_layers}x{s.vision_width} patch {s.patch} {c}" for s, c in VARIANTS]


def images(config: AnomalyCLIPConfig, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 3, config.image_size, config.image_size, generator=generator).to(dtype)


def apart(ours: Tensor, theirs: Tensor) -> float:
    difference = (ours.detach().double() - theirs.detach().double()).abs().max()
    return float(difference / theirs.detach().abs().max().clamp(min=1))


def inspect_naively(model: AnomalyCLIP, batch: Tensor) -> list[Naive]:
    weights = {key: w.double() if w.is_floating_point() else w for key, w in model.state_dict().items()}
    naive = NaiveAnomalyCLIP(model.config, weights)
    return [naive.inspect(image.double()) for image in batch]


def test_the_published_case_is_reproduced_in_each_quantity() -> None:
    differences = conformance.measure(CASE)
    assert {name: d for name, d in differences.items() if not d <= 1e-5} == {}
    assert set(differences) == {
        "text_features",
        "image_features",
        "patch_tokens",
        "image_scores",
        "similarity_maps",
        "anomaly_map_unsmoothed",
        "anomaly_map",
        "losses",
        "gradients",
    }


def test_the_published_scores_and_loss_are_those_of_the_specification() -> None:
    case = torch.load(CASE, weights_only=True)
    model = conformance.build(case)
    scores = model(case["image"], model.text_features())
    assert scores.probabilities[:, 1].tolist() == pytest.approx([0.199997, 0.580366], abs=1e-5)
    logits = model.image_logits(scores.embedding, model.text_features())
    weights = anomalyclip_losses.LossWeights()
    losses = anomalyclip_losses.compute(logits, scores.similarity_maps, case["label"], case["gt"], weights)
    assert losses.total.item() == pytest.approx(16.058659, abs=1e-4)


def test_our_tokens_are_those_the_published_prompts_were_learned_with() -> None:
    case = torch.load(CASE, weights_only=True)
    tokens = prompts.tokenize(AnomalyCLIPConfig())
    assert torch.equal(tokens, case["tokenized"])
    assert tokens[0, :17].tolist() == [49406, *[343] * 12, 14115, 269, 49407, 0]
    assert tokens[1, :17].tolist() == [49406, *[343] * 12, 13568, 14115, 269, 49407]


@pytest.mark.parametrize(("shape", "choices"), VARIANTS, ids=NAMES)
def test_other_shapes_agree_with_a_plain_second_implementation(shape: Shape, choices: dict[str, Any]) -> None:
    model = tiny_clip.model(shape, **choices)
    batch = images(model.config, 3)
    text = model.encode_text()
    features = model.encode_image(batch)
    scores = model.score(features, model.text_features())
    for i, naive in enumerate(inspect_naively(model, batch)):
        assert apart(text, naive.text) <= 1e-5
        assert apart(features.image[i], naive.image) <= 1e-5
        assert len(features.patches) == len(naive.patches)
        for ours, theirs in zip(features.patches, naive.patches, strict=True):
            assert apart(ours[i], theirs) <= 1e-5
        assert apart(scores.probabilities[i, 1], naive.image_score) <= 1e-5
        for ours, theirs in zip(scores.similarity_maps, naive.maps, strict=True):
            assert apart(ours[i].permute(1, 2, 0), theirs) <= 1e-5
        assert apart(scores.anomaly_map[i], torch.from_numpy(naive.anomaly_map)) <= 1e-5


@pytest.mark.parametrize(("shape", "choices"), VARIANTS, ids=NAMES)
def test_gradients_of_other_shapes_agree_with_the_second_implementation(shape: Shape, choices: dict[str, Any]) -> None:
    # In float64 and without the rounding to float16, so that nothing but the formulas can differ.
    model = tiny_clip.model(shape, **choices, compound_precision="float32").double()
    image = images(model.config, 1, torch.float64)
    mask = torch.zeros(1, model.config.image_size, model.config.image_size, dtype=torch.float64)
    mask[:, 3:14, 5:20] = 1
    scores = model(image, model.text_features())
    logits = model.image_logits(scores.embedding, model.text_features())
    total = anomalyclip_losses.compute(
        logits, scores.similarity_maps, torch.tensor([1]), mask, anomalyclip_losses.LossWeights()
    ).total
    parameters = [p for p in model.parameters() if p.requires_grad]
    naive = NaiveAnomalyCLIP(model.config, dict(model.named_parameters()) | dict(model.named_buffers()))
    told = naive.inspect(image[0])
    naive_total = naive_losses(told.maps, mask[0], told.image_score, 1)
    assert total.item() == pytest.approx(naive_total.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (total, naive_total))
    assert len(ours) == 2 + model.config.depth - 1
    for a, b in zip(ours, theirs, strict=True):
        assert apart(a, b) <= 1e-9


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("head_width", [64, 32])
def test_without_its_own_choices_the_model_computes_what_open_clip_computes(quick: bool, head_width: int) -> None:
    torch.manual_seed(3)
    vision = CLIPVisionCfg(layers=3, width=64, head_width=head_width, patch_size=8, image_size=32)
    text = CLIPTextCfg(width=64, heads=64 // head_width, layers=3)
    theirs = CLIP(32, vision, text, quick_gelu=quick).eval()
    clip = {key: value.detach() for key, value in theirs.state_dict().items()}
    config = AnomalyCLIPConfig.for_clip(
        clip,
        image_size=32,
        activation="quick_gelu" if quick else "gelu",
        vision_head_width=head_width,
        text_head_width=head_width,
        n_ctx=0,
        depth=1,
        dpam_layer=1,
        ln_post_on_image_feature=True,
    )
    ours = AnomalyCLIP.from_weights(config, clip, prompts.initialise(config, clip, 0))
    batch = images(config, 2)
    assert apart(ours.encode_image(batch).image, theirs.encode_image(batch)) <= 1e-5
    written = open_clip.tokenize(["object.", "damaged object."])
    assert apart(ours.encode_text(), theirs.encode_text(written)) <= 1e-5


@pytest.mark.parametrize("patch", [32, 16])
@pytest.mark.parametrize("size", [224, 512])
@pytest.mark.parametrize("dpam_layer", [10, 13])
def test_the_forward_pass_takes_less_than_1_35_times_the_bare_towers_arithmetic(
    patch: int, size: int, dpam_layer: int
) -> None:
    with torch.device("meta"):
        config = AnomalyCLIPConfig(
            patch_size=patch,
            native_grid=size // patch,
            vision_width=768,
            vision_layers=12,
            vision_mlp_width=3072,
            embedding_width=512,
            image_size=size,
            dpam_layer=dpam_layer,
            features_list=(12,),
        )
        model = AnomalyCLIP(config)
        bare = build_bare_tower(config)
        batch, text = torch.empty(2, 3, size, size), torch.empty(2, 512)
        assert count_operations(lambda: model(batch, text)) < 1.35 * count_operations(lambda: bare(batch))


def count_operations(run: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def test_a_batch_scores_as_its_images_do_alone() -> None:
    model = tiny_clip.model(image_size=48, dpam_layer=3, features_list=(2, 3))
    batch, text = images(model.config, 4), model.text_features()
    together = model(batch, text)
    for i in range(4):
        alone = model(batch[i : i + 1], text)
        assert apart(together.probabilities[i], alone.probabilities[0]) <= 1e-6
        assert apart(together.anomaly_map[i], alone.anomaly_map[0]) <= 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)])
def test_other_dtypes_score_the_same_within_their_precision(dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_clip.model(image_size=48, dpam_layer=2)
    batch = images(model.config, 2)
    expected = model(batch, model.text_features())
    other = tiny_clip.model(image_size=48, dpam_layer=2).to(dtype)
    scores = other(batch, other.text_features())
    assert apart(scores.probabilities, expected.probabilities) <= tolerance
    assert apart(scores.anomaly_map, expected.anomaly_map) <= tolerance


def test_each_deviation_from_the_published_order_of_operations_is_seen_in_the_result() -> None:
    model = tiny_clip.model(image_size=48, dpam_layer=2)
    batch = images(model.config, 1)
    published = model(batch, model.text_features())
    deviations: list[dict[str, Any]] = [
        {"ln_post_on_image_feature": True},
        {"position_interpolation": "bicubic"},
        {"compound_precision": "float32"},
        {"temperature": 0.1},
        {"sigma": 1.0},
        {"dpam_layer": 3},
    ]
    for choice in deviations:
        choices: dict[str, Any] = {"image_size": 48, "dpam_layer": 2, **choice}
        other = tiny_clip.model(**choices)
        scores = other(batch, other.text_features())
        moved = [apart(scores.probabilities, published.probabilities), apart(scores.anomaly_map, published.anomaly_map)]
        assert max(moved) > 1e-6, choice


def test_scoring_allocates_nothing_that_grows_with_the_number_of_batches() -> None:
    model = tiny_clip.model(image_size=48, dpam_layer=3)
    batch, text = images(model.config, 2), model.text_features().detach()

    def living_bytes() -> int:
        gc.collect()
        return sum(one.untyped_storage().nbytes() for one in gc.get_objects() if issubclass(type(one), Tensor))

    def score(batches: int) -> int:
        with torch.inference_mode():
            for _ in range(batches):
                model(batch, text)
        return living_bytes()

    assert score(1) == score(8)


def test_smoothing_is_a_gaussian_with_mirrored_edges_even_on_maps_smaller_than_the_kernel() -> None:
    for size in (5, 16, 60):
        maps = torch.rand(2, size, size, generator=torch.Generator().manual_seed(size))
        expected = np.stack([gaussian(one.double().numpy(), sigma=4) for one in maps])
        assert apart(smooth(maps, 4.0, 4.0), torch.from_numpy(expected)) <= 1e-6


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"dpam_layer": 26}, "dpam_layer: given 26, allowed 1 to 25"),
        ({"features_list": (25,)}, "features_list: given [25], allowed rising block numbers from 1 to 24"),
        ({"features_list": (-25,)}, "features_list: given [0], allowed rising block numbers from 1 to 24"),
        ({"features_list": ()}, "features_list: given []"),
        ({"features_list": (12, 6)}, "features_list: given [12, 6]"),
        ({"depth": 13}, "depth: given 13, allowed 1 to 12"),
        ({"temperature": 0.0}, "temperature: given 0.0, allowed above 0"),
        ({"image_size": 10}, "image_size: given 10, allowed from 14"),
        ({"sigma": -1.0}, "sigma: given -1.0"),
    ],
)
def test_a_wrong_choice_is_answered_with_what_is_allowed(choices: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        AnomalyCLIPConfig(**choices)
    assert told in str(refused.value)


def test_the_default_configuration_is_the_published_one() -> None:
    config = AnomalyCLIPConfig()
    assert (config.image_size, config.depth, config.n_ctx, config.t_n_ctx, config.dpam_layer) == (518, 9, 12, 4, 20)
    assert (config.temperature, config.sigma, config.features_list, config.grid) == (0.07, 4.0, (24,), 37)
    assert (config.activation, config.image_interpolation) == ("quick_gelu", "bicubic")
    assert (config.position_interpolation, config.compound_precision, config.map_fusion) == (
        "bilinear",
        "float16",
        "sum",
    )
    assert (config.class_name, config.normal_template, config.abnormal_template) == ("object", "{}", "damaged {}")
    assert (config.ln_post_on_image_feature, config.truncate, config.layer_norm_eps) == (False, 4.0, 1e-5)
    assert AnomalyCLIPConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("layers", [12, 24, 32])
def test_the_last_block_is_scored_whatever_the_architecture(layers: int) -> None:
    assert AnomalyCLIPConfig(vision_layers=layers, dpam_layer=2).features_list == (layers,)
    assert AnomalyCLIPConfig(vision_layers=layers, dpam_layer=2, features_list=(6, -1)).features_list == (6, layers)
    assert tiny_clip.model(Shape(vision_layers=layers)).config.features_list == (layers,)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="learnabel_depth: not a setting"):
        AnomalyCLIPConfig.from_dict({"learnabel_depth": 9})


def test_a_checkpoint_of_other_shapes_is_answered_with_what_was_given_and_needed() -> None:
    clip = tiny_clip.weights()
    config = AnomalyCLIPConfig.for_clip(clip, image_size=32)
    learned = prompts.initialise(config, clip, 0)
    with pytest.raises(ModelShapeWrong, match=r"visual.proj: given \(64, 16\), needed \(64, 32\)"):
        AnomalyCLIP.from_weights(config, clip | {"visual.proj": torch.zeros(64, 16)}, learned)
    with pytest.raises(ModelShapeWrong, match=r"ln_final\.weight: missing"):
        AnomalyCLIP.from_weights(config, {k: v for k, v in clip.items() if k != "ln_final.weight"}, learned)
    with pytest.raises(ModelShapeWrong, match=r"visual.extra: not part of this model"):
        AnomalyCLIP.from_weights(config, clip | {"visual.extra": torch.zeros(1)}, learned)
    with pytest.raises(ModelShapeWrong, match="not the weights of a CLIP vision transformer"):
        AnomalyCLIPConfig.for_clip({"layer1.weight": torch.zeros(1)})


def test_weights_with_a_nan_are_refused() -> None:
    clip = tiny_clip.weights()
    clip["visual.proj"][3, 3] = float("nan")
    config = AnomalyCLIPConfig.for_clip(clip, image_size=32)
    with pytest.raises(ModelShapeWrong, match=r"visual\.proj: holds NaN"):
        AnomalyCLIP.from_weights(config, clip, prompts.initialise(config, clip, 0))


def test_prompts_of_another_clip_are_refused() -> None:
    clip = tiny_clip.weights(seed=0)
    config = AnomalyCLIPConfig.for_clip(clip, image_size=32)
    learned = prompts.initialise(config, clip, 0)
    prompts.check_origin(learned, clip)
    with pytest.raises(ModelShapeWrong, match="learned on another CLIP"):
        prompts.check_origin(learned, tiny_clip.weights(seed=1))
    with pytest.raises(ModelShapeWrong, match="learned on a CLIP of text width 64, this one has 128"):
        prompts.check_origin(learned, tiny_clip.weights(Shape(text_width=128)))


def test_the_conformance_command_prints_differences_and_nothing_else_numeric() -> None:
    ran = CliRunner().invoke(app, ["conformance", str(CASE), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert all(isinstance(value, float) and 0 <= value <= 1e-5 for value in told.values())
    assert {"text_features", "image_features", "patch_tokens", "image_scores", "anomaly_map", "losses"} <= set(told)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_each_dtype_passes_by_its_own_tolerance_and_fails_by_a_stricter_one(dtype: str) -> None:
    ran = CliRunner().invoke(app, ["conformance", str(CASE), "--dtype", dtype, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["gradients"] > 1e-5, "by that of float32 it would not pass"
    stricter = CliRunner().invoke(app, ["conformance", str(CASE), "--dtype", dtype, "--tolerance", "1e-5"])
    assert stricter.exit_code == 1
    assert "gradients" in stricter.stdout and "beyond the tolerance" in stricter.stdout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("quantity", "name"), [("grad_ctx_pos", "gradients"), ("text_features_raw", "text_features")])
def test_a_real_difference_fails_in_either_dtype(dtype: str, quantity: str, name: str, tmp_path: Path) -> None:
    case = torch.load(CASE, weights_only=True)
    case[quantity] += 5e-5 * case[quantity].abs().max().clamp(min=1)
    torch.save(case, tmp_path / "case.pt")
    ran = CliRunner().invoke(app, ["conformance", str(tmp_path / "case.pt"), "--dtype", dtype])
    assert ran.exit_code == 1
    (beyond,) = [line for line in ran.stdout.splitlines() if "beyond the tolerance" in line]
    assert beyond.startswith(name)


def test_a_difference_that_is_not_a_number_is_beyond_any_tolerance() -> None:
    assert Tolerance(1.0, 2.0).exceeded({"losses": float("nan"), "gradients": 1.5, "anomaly_map": 1.5}) == [
        "losses",
        "anomaly_map",
    ]


def test_a_case_with_a_nan_does_not_conform(tmp_path: Path) -> None:
    case = torch.load(CASE, weights_only=True)
    case["anomaly_map"][0, 0, 0] = float("nan")
    torch.save(case, tmp_path / "case.pt")
    ran = CliRunner().invoke(app, ["conformance", str(tmp_path / "case.pt"), "--json"])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["anomaly_map"] > 1


def test_a_case_of_other_shapes_is_told_by_name(tmp_path: Path) -> None:
    case = torch.load(CASE, weights_only=True)
    case["patch_tokens"] = case["patch_tokens"][:2]
    torch.save(case, tmp_path / "case.pt")
    with pytest.raises(ConformanceFailed, match="patch_tokens"):
        conformance.measure(tmp_path / "case.pt")


def test_a_file_that_is_no_case_is_refused(tmp_path: Path) -> None:
    (tmp_path / "case.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsUnreadable, match="not a conformance case"):
        conformance.measure(tmp_path / "case.pt")
    torch.save({"cfg": {}}, tmp_path / "case.pt")
    with pytest.raises(WeightsUnreadable, match="it has no "):
        conformance.measure(tmp_path / "case.pt")


def test_a_conformance_case_needs_everything_that_is_compared(tmp_path: Path) -> None:
    case = torch.load(CASE, weights_only=True)
    del case["grad_norms"]
    torch.save(case, tmp_path / "case.pt")
    with pytest.raises(WeightsUnreadable, match="it has no grad_norms"):
        conformance.measure(tmp_path / "case.pt")


def test_a_device_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(ConformanceFailed, match="device nowhere"):
        conformance.measure(CASE, device="nowhere")


@pytest.mark.parametrize("measure", [measure_anomalyclip, measure_remembering])
def test_the_forward_cost_is_measured_beside_the_bare_tower(
    measure: Callable[[AnomalyCLIPConfig, int, int], ForwardCost],
) -> None:
    cost = measure(tiny_clip.model(image_size=48, dpam_layer=2).config, 2, 3)
    assert cost.bare_milliseconds > 0 and cost.detector_milliseconds > 0 and cost.ratio > 0


def test_the_forward_cost_with_and_without_labels_is_measured_beside_the_one_backbone() -> None:
    base = patchcore_of_noise(64)
    without, tail = supervised_of_noise(base), tailed(base)
    assert len(without.head.state_dict()) > 0 and without.tail_logits is None
    assert tail.tails is not None and len(tail.tails.members) == 3 and tail.tail_logits is not None
    for detector in (base, without, tail):
        (answer,) = detector.predict([np.zeros((64, 64, 3), np.uint8)])
        assert isinstance(answer, Prediction)
        cost = measure_on_frames(detector, base.eye.backbone, 3)
        assert cost.bare_milliseconds > 0 and cost.detector_milliseconds > 0 and cost.ratio > 0


def test_bare_and_detector_are_timed_by_turns() -> None:
    calls: list[str] = []
    alternate(lambda: calls.append("bare"), lambda: calls.append("detector"), rounds=3)
    assert calls == ["bare", "detector"] * (2 + 3), "two that pay for what is made once, then each pair in one moment"


@pytest.mark.parametrize(("shape", "patch", "grid"), [("ViT-B-32", 32, 7), ("ViT-B-16", 16, 14)])
def test_the_shapes_of_the_benchmark_are_open_clips(shape: str, patch: int, grid: int) -> None:
    config = configuration(shape)
    assert (config.patch_size, config.native_grid, config.image_size) == (patch, grid, 224)
    assert (config.vision_width, config.vision_layers, config.embedding_width) == (768, 12, 512)
    assert (config.dpam_layer, config.features_list) == (10, (12,))
