from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from typer.testing import CliRunner, Result

from cli.model import app
from storage.errors import SettingsError, TeachingFailed
from storage.model_files import check_model
from tests.unit import tiny_clip, tiny_weights
from workers.detectors import anomalyclip_losses, augmentation, registry, training_curves
from workers.detectors.anomalyclip import AnomalyCLIP, ImageFeatures
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector, ClipFile
from workers.detectors.anomalyclip_losses import LossWeights
from workers.detectors.anomalyclip_training import (
    AD_CLIP,
    Recipe,
    TrainingOutcome,
    TrainingSample,
    learn_prompts,
    train,
)
from workers.detectors.augmentation import Augmentation
from workers.detectors.detector import Image, Prediction
from workers.detectors.good_patches import GoodPatches
from workers.detectors.training_checkpoint import EpochRecord
from workers.detectors.weight_folder import find_clip, find_prompts

QUICK = Recipe(epochs=12, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    # Sums in another order differ in the last bit; tests run beside one another and compare bits.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(**choices: Any) -> AnomalyCLIP:
    shape: dict[str, Any] = {"image_size": 32, "dpam_layer": 2, "sigma": 1.0}
    return tiny_clip.model(prompt_scale=1.0, **shape | choices)


def make_parts(count: int, seed: int, masks: bool = True) -> list[TrainingSample]:
    """Grey cast parts with grain; every second one has a bright inclusion somewhere."""
    draw = np.random.default_rng(seed)
    return [make_part(draw, anomalous=i % 2 == 1, masks=masks) for i in range(count)]


def make_part(draw: np.random.Generator, anomalous: bool, masks: bool) -> TrainingSample:
    image = draw.normal(110, 12, size=(40, 40)).clip(0, 255).astype(np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    if anomalous:
        row, column = draw.integers(2, 26, size=2)
        mask[row : row + 12, column : column + 12] = 255
        image[mask > 0] = 250
    return TrainingSample(image, anomalous, mask if masks and anomalous else None)


def learned(model: AnomalyCLIP) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.prompt_learner.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_lowers_the_loss_and_tells_held_out_parts_apart_repeatably(tmp_path: Path) -> None:
    histories = []
    for run in ("first", "second"):
        model = build()
        still = replace(QUICK, epochs=1, learning_rate=1e-12)
        parts, held_out = make_parts(24, seed=1), make_parts(40, seed=2)
        untrained = learn_prompts(build(), parts, still, tmp_path / f"{run}, untrained", held_out)
        history = learn_prompts(model, parts, QUICK, tmp_path / run, held_out)
        histories.append((history, learned(model)))
        assert history[-1].total < 0.7 * untrained[0].total
        before, after = untrained[0].held_out_auroc, history[-1].held_out_auroc
        assert before is not None and after is not None
        assert after > max(0.9, before)
    assert histories[0][0] == histories[1][0]
    assert same(histories[0][1], histories[1][1])


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("changes", [Augmentation(), augmentation.AD_CLIP], ids=["plain", "augmented"])
def test_an_interrupted_and_resumed_training_ends_at_the_same_weights(tmp_path: Path, changes: Augmentation) -> None:
    recipe, parts = replace(QUICK, epochs=4, augmentation=changes, optimiser="adamw"), make_parts(10, seed=3)
    whole = build()
    history = learn_prompts(whole, parts, recipe, tmp_path / "whole")

    def interrupt(record: EpochRecord, epochs: int) -> None:
        if record.epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        learn_prompts(build(), parts, recipe, tmp_path / "resumed", report=interrupt)
    resumed = build()
    assert learn_prompts(resumed, parts, recipe, tmp_path / "resumed") == history
    assert same(learned(resumed), learned(whole))


def test_a_finished_training_called_again_learns_nothing_more(tmp_path: Path) -> None:
    model = build()
    history = learn_prompts(model, make_parts(6, seed=3), replace(QUICK, epochs=2), tmp_path)
    again = build()
    assert learn_prompts(again, make_parts(6, seed=3), replace(QUICK, epochs=2), tmp_path) == history
    assert same(learned(again), learned(model))


def test_a_checkpoint_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=1), tmp_path)
    with pytest.raises(TeachingFailed, match="belongs to another training"):
        learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=2, seed=5), tmp_path)


@pytest.mark.parametrize("what", ["image", "label", "mask", "order"])
def test_a_checkpoint_of_other_samples_is_not_continued_and_stays_as_it_is(tmp_path: Path, what: str) -> None:
    parts = make_parts(6, seed=3)
    learn_prompts(build(), parts, replace(QUICK, epochs=1), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = make_parts(6, seed=3)
    if what == "order":
        other[1], other[3] = other[3], other[1]
    elif what == "image":
        other[2].image[0, 0] ^= 1
    elif what == "label":
        other[1] = replace(other[1], anomalous=False, mask=None)
    else:
        other[1] = replace(other[1], mask=None)
    with pytest.raises(TeachingFailed, match=r"another training \(SHA-256 of images, labels and masks: was "):
        learn_prompts(build(), other, replace(QUICK, epochs=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(learn_prompts(build(), parts, replace(QUICK, epochs=2), tmp_path)) == 2


def test_a_checkpoint_of_another_model_is_not_continued(tmp_path: Path) -> None:
    learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=1), tmp_path)
    with pytest.raises(TeachingFailed, match=r"belongs to another training \(model: was .*'n_ctx': 12"):
        learn_prompts(build(n_ctx=5), make_parts(4, seed=3), replace(QUICK, epochs=2), tmp_path)


def test_a_checkpoint_whose_tensors_have_other_shapes_is_told(tmp_path: Path) -> None:
    learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=1), tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    with safetensors.safe_open(file, framework="pt") as kept:
        notes, tensors = kept.metadata(), {key: kept.get_tensor(key) for key in kept.keys()}
    tensors["learned.ctx_pos"] = torch.zeros(1, 1, 5, 64)
    del tensors["learned.compound_prompts_text.1"]
    safetensors.torch.save_file(tensors, file, metadata=notes)
    told = r"compound_prompts_text.1: given None, needed \(4, 64\); ctx_pos: given \(1, 1, 5, 64\), needed \(1, 1, 12"
    with pytest.raises(TeachingFailed, match=told):
        learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=2), tmp_path)


@pytest.mark.parametrize(("content", "told"), [(b"cut", "is damaged"), (None, "is no checkpoint of a training")])
def test_a_file_that_is_no_checkpoint_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    if content is None:
        safetensors.torch.save_file({"ctx_pos": torch.zeros(1)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(TeachingFailed, match=told):
        learn_prompts(build(), make_parts(4, seed=3), replace(QUICK, epochs=1), tmp_path)


def test_only_the_prompts_are_learned(tmp_path: Path) -> None:
    model = build()
    frozen = {key: w.clone() for key, w in model.state_dict().items() if not key.startswith("prompt_learner.")}
    before = learned(model)
    learn_prompts(model, make_parts(4, seed=3), replace(QUICK, epochs=1), tmp_path)
    assert all(torch.equal(model.state_dict()[key], w) for key, w in frozen.items())
    assert not any(torch.equal(before[name], p) for name, p in learned(model).items())


def test_kept_features_and_recomputed_ones_teach_the_same(tmp_path: Path) -> None:
    parts, recipe = make_parts(8, seed=3), replace(QUICK, epochs=2)
    kept, recomputed = build(), build()
    learn_prompts(kept, parts, recipe, tmp_path / "kept")
    learn_prompts(recomputed, parts, replace(recipe, feature_memory_bytes=0), tmp_path / "recomputed")
    for name, one in learned(kept).items():
        assert torch.allclose(one, learned(recomputed)[name], atol=1e-3)


def copied(features: ImageFeatures) -> ImageFeatures:
    """As a cache would give them back: what is made in inference mode cannot be learned from."""
    return ImageFeatures(features.image.clone(), [tokens.clone() for tokens in features.patches])


@dataclass(frozen=True)
class Unread:
    """A sample whose image nobody may ask for."""

    anomalous: bool
    mask: np.ndarray[Any, np.dtype[np.uint8]] | None

    @property
    def image(self) -> Image:
        raise AssertionError("its features are known")

    def identity(self) -> Iterator[bytes]:
        yield f"{self.anomalous}".encode()


@pytest.mark.parametrize("memory", [0, 2 << 30])
def test_with_known_features_no_image_is_looked_at_and_prompts_learn_the_same(tmp_path: Path, memory: int) -> None:
    parts, recipe = make_parts(10, seed=3), replace(QUICK, epochs=3)
    looked, known = build(), build()
    history = learn_prompts(looked, parts, recipe, tmp_path / "looked")
    detector = AnomalyCLIPDetector(known, ClipFile("ViT-tiny:random", tmp_path))
    features = [copied(detector.features([part.image])) for part in parts]
    asked: list[int] = []

    def feature(index: int) -> ImageFeatures:
        asked.append(index)
        return features[index]

    unread = [Unread(part.anomalous, part.mask) for part in parts]
    frugal = replace(recipe, feature_memory_bytes=memory)
    assert learn_prompts(known, unread, frugal, tmp_path / "known", features=feature) == history
    assert same(learned(known), learned(looked))
    assert len(asked) == (10 if memory else 3 * 10), "read again each epoch where they do not fit into the memory"


def test_a_recipe_that_augments_looks_at_the_images_it_changed(tmp_path: Path) -> None:
    def unknown(index: int) -> ImageFeatures:
        raise AssertionError(index)

    changing = replace(QUICK, epochs=1, augmentation=augmentation.AD_CLIP)
    assert learn_prompts(build(), make_parts(4, seed=3), changing, tmp_path, features=unknown)


def test_anomalous_parts_without_a_mask_teach_the_image_score(tmp_path: Path) -> None:
    model, parts = build(), make_parts(16, seed=4, masks=False)
    history = learn_prompts(model, parts, QUICK, tmp_path, make_parts(40, seed=2))
    assert history[-1].classification < history[0].classification


def test_a_training_leaves_a_model_folder_that_scores_and_can_be_checked(tmp_path: Path) -> None:
    clip_file = tmp_path / "clip.safetensors"
    safetensors.torch.save_file(tiny_clip.weights(), clip_file)
    told: list[str] = []
    outcome = train(
        build(),
        ClipFile("ViT-tiny:random", clip_file),
        make_parts(8, seed=1),
        replace(AD_CLIP, epochs=2),
        tmp_path,
        held_out=make_parts(6, seed=2),
        report=lambda record, epochs: told.append(f"{record.epoch}/{epochs}"),
    )
    assert told == ["1/2", "2/2"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    description = yaml.safe_load((tmp_path / "model" / "model.yaml").read_text())
    assert description["training"]["recipe"]["optimiser"] == "adamw"
    assert description["training"]["samples"] == 8
    loaded = registry.load(tmp_path / "model", outcome.sha256)
    check_model(tmp_path / "model", outcome.sha256)
    image = make_parts(1, seed=9)[0].image
    assert loaded.version == outcome.detector.version
    (found,), (wanted,) = loaded.predict([image]), outcome.detector.predict([image])
    assert isinstance(found, Prediction) and isinstance(wanted, Prediction)
    assert found.raw_score == wanted.raw_score


def test_an_interrupted_training_leaves_the_curves_of_all_its_finished_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = training_curves.draw

    def watched(history: Sequence[EpochRecord], file: Path) -> None:
        drawn.append(len(history))
        draw(history, file)

    def interrupt(record: EpochRecord, epochs: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_curves, "draw", watched)
    clip, recipe = ClipFile("ViT-tiny:random", tmp_path / "clip.safetensors"), replace(QUICK, epochs=4)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(build(), clip, make_parts(4, seed=1), recipe, tmp_path / "training", report=interrupt)
    assert drawn == [1, 2]
    assert (tmp_path / "training" / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TeachingFailed):
        train(build(), clip, make_parts(6, seed=1), recipe, tmp_path / "training")
    assert drawn == [1, 2], "what another training left stays as it is"


@pytest.fixture
def trained(tmp_path: Path) -> TrainingOutcome:
    """In `training`, on the CLIP that is in `models`; its settings are not the published ones."""
    tiny_weights.store_clip(tmp_path / "models")
    clip = find_clip(tiny_weights.CLIP, tmp_path / "models")
    model, recipe = build(temperature=0.2, features_list=(2, 3)), replace(QUICK, epochs=2)
    return train(model, ClipFile(clip.name, clip.file), make_parts(8, seed=1), recipe, tmp_path / "training")


def imported(tmp_path: Path) -> Result:
    file, models = tmp_path / "training" / "model" / "weights.safetensors", tmp_path / "models"
    return CliRunner().invoke(app, ["import", str(file), "--name", "ours", "--models", str(models)])


def test_prompts_that_were_trained_here_are_imported_and_give_the_same_scores(
    trained: TrainingOutcome, tmp_path: Path
) -> None:
    ran = imported(tmp_path)
    assert ran.exit_code == 0, ran.output
    again = AnomalyCLIPDetector.from_folder(tmp_path / "models", tiny_weights.CLIP, "ours")
    assert again.model.config == trained.detector.model.config
    images = [part.image for part in make_parts(4, seed=9)]
    for found, wanted in zip(again.predict(images), trained.detector.predict(images), strict=True):
        assert isinstance(found, Prediction) and isinstance(wanted, Prediction)
        assert found.raw_score == wanted.raw_score
        assert np.array_equal(found.anomaly_map, wanted.anomaly_map)


def test_prompts_of_a_few_shot_model_are_imported_without_its_memory(trained: TrainingOutcome, tmp_path: Path) -> None:
    features = trained.detector.features([make_parts(1, seed=9)[0].image])
    memory = GoodPatches.remember([features.patches], seed=0)
    trained.detector.with_learned(memory=memory).save(tmp_path / "training" / "model")
    assert imported(tmp_path).exit_code == 0
    assert same(find_prompts("ours", tmp_path / "models").load(), trained.detector.model.prompt_learner.state_dict())


def test_trained_prompts_without_their_model_yaml_are_scored_as_published_ones(
    trained: TrainingOutcome, tmp_path: Path
) -> None:
    (tmp_path / "training" / "model" / "model.yaml").unlink()
    assert imported(tmp_path).exit_code == 0
    assert find_prompts("ours", tmp_path / "models").choices == {"n_ctx": 12, "depth": 3, "t_n_ctx": 4}


def test_trained_prompts_beside_the_model_yaml_of_others_are_refused(trained: TrainingOutcome, tmp_path: Path) -> None:
    file = tmp_path / "training" / "model" / "weights.safetensors"
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file({name: tensor + 1 for name, tensor in tensors.items()}, file)
    ran = imported(tmp_path)
    assert ran.exit_code == 1 and "recorded with SHA-256" in ran.stderr


def test_the_published_recipe_and_the_ad_clip_one_are_both_reachable() -> None:
    published = Recipe()
    assert (published.epochs, published.batch_size, published.learning_rate, published.betas) == (
        15,
        8,
        1e-3,
        (0.5, 0.999),
    )
    assert (published.optimiser, published.weight_decay, published.seed) == ("adam", 0.0, 111)
    assert published.weights == LossWeights(classification=1.0, anomaly=4.0, contrastive=0.0)
    assert (AD_CLIP.optimiser, AD_CLIP.learning_rate, AD_CLIP.batch_size, AD_CLIP.epochs) == ("adamw", 1e-4, 8, 200)
    assert AD_CLIP.weights == LossWeights(1.0, 1.0, 1.0)
    for depth in (10, 11, 12, 13):
        assert (
            tiny_clip.model(tiny_clip.Shape(vision_layers=12), image_size=16, dpam_layer=depth).config.dpam_layer
            == depth
        )


def test_parts_of_one_kind_alone_are_refused(tmp_path: Path) -> None:
    normal = make_parts(8, seed=1)[::2]
    with pytest.raises(TeachingFailed, match="given 4 normal and 0 anomalous images"):
        learn_prompts(build(), normal, QUICK, tmp_path)
    with pytest.raises(TeachingFailed, match="given 0 normal and 0 anomalous images"):
        learn_prompts(build(), [], QUICK, tmp_path)


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    parts = make_parts(4, seed=1)
    parts[3] = replace(parts[3], mask=np.ones((20, 40), np.uint8))
    with pytest.raises(TeachingFailed, match=r"sample 3: given a mask of \(20, 40\) for an image of \(40, 40\)"):
        learn_prompts(build(), parts, QUICK, tmp_path)


def test_a_part_labelled_normal_with_a_marked_defect_is_refused(tmp_path: Path) -> None:
    parts = make_parts(4, seed=1)
    parts[0] = replace(parts[0], mask=np.ones((40, 40), np.uint8))
    with pytest.raises(TeachingFailed, match="sample 0: labelled normal, but its mask marks 1600 pixels"):
        learn_prompts(build(), parts, QUICK, tmp_path)


def test_a_loss_that_is_no_number_any_more_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(TeachingFailed, match=r"lower recipe\.learning_rate"):
        learn_prompts(build(), make_parts(4, seed=1), replace(QUICK, learning_rate=1e38), tmp_path)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [({"epochs": 0}, "epochs"), ({"batch_size": 0}, "batch_size"), ({"learning_rate": -1.0}, "learning_rate")],
)
def test_a_wrong_recipe_is_answered_with_what_is_allowed(recipe: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=rf"recipe\.{told}: given .*, allowed"):
        Recipe(**recipe)


def test_the_contrastive_loss_falls_when_each_prompt_picks_its_own_images() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    right = torch.tensor([[5.0, 0.0], [5.0, 0.0], [0.0, 5.0], [0.0, 5.0]])
    own, none, other = (
        anomalyclip_losses.contrastive(logits, labels).item() for logits in (right, torch.zeros(4, 2), right.flip(1))
    )
    assert own < none < other
    only_normal = anomalyclip_losses.contrastive(torch.zeros(3, 2), torch.tensor([0, 0, 0])).item()
    assert only_normal == pytest.approx(np.log(3), abs=1e-6)
