"""The backbone's last blocks learn from labels where there are enough of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from storage.errors import ModelError, SettingsError, TrainingCancelled
from tests.painted import good_part
from tests.unit.kept_bytes import growth
from tests.unit.painted_parts import labelled_parts
from workers.detectors import artefact, fusion_training
from workers.detectors.detector import Prediction
from workers.detectors.efficientnet_lite import build
from workers.detectors.frame_features import Look, Looker
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import seen
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features
from workers.detectors.registry import load
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import refit
from workers.detectors.tail import Tail, Tails, parted
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.tail_onnx import OnnxTails
from workers.detectors.tail_training import begun, entered, out_of_fold, train, turned
from workers.retrain.retraining import fine_tuning

LOOK = Look(96, local_contrast=True)
HEAD = HeadConfiguration(image_size=96, folds=2, members=2, width=8, epochs=2, least_steps=1, batch_size=16)
SMALL = TailConfiguration(least_labels=20, folds=2, epochs=6, batch_size=10)
PARTS = labelled_parts(20)


@pytest.fixture(scope="module")
def looker() -> Looker:
    torch.set_num_threads(1)
    return Looker(LOOK)


@pytest.fixture(scope="module")
def base(looker: Looker) -> PatchCore:
    configuration = PatchCoreConfiguration(image_size=96, bank_size=50, target_false_reject_rate=0.1)
    return teach_features([looker.features(good_part(number)) for number in range(40)], configuration=configuration)


@pytest.fixture(scope="module")
def kept(looker: Looker) -> list[Seen]:
    return [seen(one, looker) for one in PARTS]


@pytest.fixture(scope="module")
def detector(base: PatchCore, kept: list[Seen]) -> SupervisedDetector:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fusion_training, "is_likely", lambda *_: True)  # heard, whatever it is worth
        return refit(base, kept, configuration=HEAD, tail=SMALL)


def activations(frames: list[Seen]) -> Tensor:
    return torch.from_numpy(np.stack([one.features.s16 for one in frames]))


def truth(frames: list[Seen]) -> Tensor:
    return torch.tensor([one.is_anomaly for one in frames])


def test_before_it_learns_a_tail_sees_as_the_backbone_does(kept: list[Seen]) -> None:
    network = build()
    entry, blocks = parted(network)
    tail, given = Tail(blocks, 0.0).eval(), activations(kept[:3]).float()
    with torch.inference_mode():
        x = given
        for stage in network.stages[5:]:
            x = stage(x)
        wanted = tail.judge(x.mean((2, 3)))[:, 0]
        assert torch.allclose(Tails(entry, [tail])(given), wanted, atol=1e-5)


def test_what_is_served_is_what_was_trained(detector: SupervisedDetector, kept: list[Seen]) -> None:
    assert detector.tails is not None
    given = activations(kept[:4]).float()
    with torch.inference_mode():
        assert torch.allclose(OnnxTails(detector.tails, tuple(given.shape))(given), detector.tails(given), atol=1e-4)


def test_a_depthwise_convolution_passes_on_the_gradient_that_torch_would() -> None:
    tail = begun(SMALL)
    x = torch.randn(2, 3, 3, 192, requires_grad=True)
    (fast,) = torch.autograd.grad(tail.eval()(x).sum(), x)
    y = x.permute(0, 3, 1, 2)
    for block in tail.blocks:
        y = block(y)
    (wanted,) = torch.autograd.grad(tail.judge(y.mean((2, 3))).sum(), x)
    assert torch.allclose(fast, wanted, atol=1e-5)


def test_labels_teach_it_and_what_it_says_of_a_part_is_by_one_that_never_saw_the_part(kept: list[Seen]) -> None:
    torch.set_num_threads(1)
    source, folds = entered(parted(build())[0], activations(kept)), torch.arange(len(kept)) // 2 % 2
    tails = train([source], truth(kept), folds, SMALL, seed=1)
    said = out_of_fold(tails, source, folds)
    with torch.inference_mode():
        for member, tail in enumerate(tails):
            assert torch.equal(said[folds == member], tail(source[folds == member].float()))
    assert said[truth(kept)].mean() > said[~truth(kept)].mean()


def test_a_part_that_all_learn_from_is_judged_by_all_together(kept: list[Seen]) -> None:
    source, folds = entered(parted(build())[0], activations(kept[:4])), torch.full((4,), -1)
    tails = [begun(replace(SMALL, dropout=0)).eval() for _ in range(2)]
    with torch.inference_mode():
        wanted = (tails[0](source.float()) + tails[1](source.float())) / 2
    assert torch.allclose(out_of_fold(tails, source, folds), wanted, atol=1e-6)


def test_the_eight_turnings_are_different_and_keep_every_place() -> None:
    grid = torch.arange(16.0).reshape(4, 4, 1)
    ways = {tuple(turned(grid, way).flatten().tolist()) for way in range(8)}
    assert len(ways) == 8
    assert all(sorted(way) == list(range(16)) for way in ways)


def test_with_too_few_labels_nothing_is_fine_tuned(base: PatchCore, kept: list[Seen]) -> None:
    few = refit(base, kept, configuration=HEAD, tail=replace(SMALL, least_labels=21))
    never = refit(base, kept, configuration=HEAD, tail=replace(SMALL, least_labels=0))
    assert few.tails is None and never.tails is None
    assert few.version == never.version
    assert few.learned.evidence["auroc_tail"] is None


@pytest.mark.parametrize("knows", [True, False])
def test_a_tail_is_heard_and_kept_only_where_the_others_do_worse_without(knows: bool) -> None:
    draw = np.random.default_rng(0)
    truth = draw.random(300) < 0.5
    head, tail = truth + draw.normal(0, 1, 300), (4 * truth if knows else 0) + draw.normal(0, 1, 300)
    scores, parts = np.full(300, 0.5), [str(number) for number in range(300)]
    parted = fusion_training.folds(truth, fusion_training.numbered(parts), 5, 0)
    fusion, evidence = fusion_training.learn(
        scores, head, head, truth, np.ones(300), parts, 0, parted=parted, may_help=True, tail=tail
    )
    assert (fusion.tail_weight > 0) is knows
    assert evidence.labels_help and evidence.auroc_tail is not None


def test_a_seed_makes_fine_tuning_repeatable(
    base: PatchCore, kept: list[Seen], detector: SupervisedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion_training, "is_likely", lambda *_: True)
    assert refit(base, kept, configuration=HEAD, tail=SMALL).version == detector.version
    assert refit(base, kept, configuration=HEAD, tail=SMALL, seed=1).version != detector.version


def test_how_far_it_is_rises_to_the_end_and_may_end_it(base: PatchCore, kept: list[Seen]) -> None:
    said: list[float] = []
    refit(base, kept, configuration=HEAD, tail=SMALL, told=said.append)
    assert said == sorted(said) and said[-1] == 1.0

    def enough(_: float) -> None:
        raise TrainingCancelled

    with pytest.raises(TrainingCancelled):
        refit(base, kept, configuration=HEAD, tail=SMALL, told=enough)


def test_a_restored_detector_with_a_tail_gives_the_same_bits(detector: SupervisedDetector, tmp_path: Path) -> None:
    restored = load(tmp_path, detector.save(tmp_path))
    assert isinstance(restored, SupervisedDetector) and restored.tails is not None
    assert restored.version == detector.version
    for one in PARTS[:3]:
        (again,), (before,) = restored.predict([one.image]), detector.predict([one.image])
        assert isinstance(again, Prediction) and isinstance(before, Prediction)
        assert again.raw_score == before.raw_score


def test_scoring_with_a_tail_keeps_nothing_of_the_batches_it_scored(detector: SupervisedDetector) -> None:
    assert detector.tail_logits is not None
    tensors, others = growth(detector, [one.image for one in PARTS[:2]])
    assert tensors == 0
    assert others < 22_000, "less than the features of one image, after eighteen more batches"


def test_a_tail_of_another_network_is_refused(detector: SupervisedDetector, tmp_path: Path) -> None:
    saved = artefact.read(tmp_path, detector.save(tmp_path))
    tensors = {name: one for name, one in saved.tensors.items() if name != "tail.members.0.judge.bias"}
    with pytest.raises(ModelError, match="the tail's weights are not those of this version's network"):
        SupervisedDetector.restore(replace(saved, tensors=tensors))


def test_many_images_are_gone_through_less_often_but_often_enough() -> None:
    own = TailConfiguration(epochs=8, enough_steps=110, least_epochs=3)
    assert [own.steps(batches) for batches in (5, 20, 100)] == [40, 110, 300]


def test_the_recipe_says_from_how_many_labels_on() -> None:
    own = fine_tuning({"retrain": {"fine_tune_from": 7}})
    assert own.wanted(7, 9) and not own.wanted(7, 6)
    assert not fine_tuning({"retrain": {"fine_tune_from": 0}}).wanted(1000, 1000)


def test_a_wrong_configuration_of_the_tail_says_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match=r"tail\.folds: given 1, allowed 2 to 20"):
        TailConfiguration(folds=1)
