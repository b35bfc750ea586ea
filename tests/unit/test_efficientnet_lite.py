from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.errors import ImageUnreadable, ModelAltered, ModelMissing
from workers.detectors.detector import Image
from workers.detectors.efficientnet_lite import EfficientNetLite, build, preprocess, read_weights, weights_path
from workers.detectors.efficientnet_lite0 import EfficientNetLite0
from workers.detectors.efficientnet_onnx import OnnxNetwork


def noise(*shape: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_backbone_never_touches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    features = EfficientNetLite(64).features(noise(64, 64))
    assert [tuple(stage.shape) for stage in features] == [(40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_altered_weights_are_refused_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(weights_path().read_bytes()[:-1] + b"x")
    with pytest.raises(ModelAltered, match=r"weights\.pth.*57934424") as caught:
        read_weights(path)
    assert caught.value.wanted != caught.value.found


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"weights\.pth"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 900), (37, 53), (129, 64, 3), (300, 300, 1), (1080, 1440, 3)])
def test_any_size_becomes_the_square_input(shape: tuple[int, ...]) -> None:
    pixels = preprocess(noise(*shape), 64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.float32
    assert np.abs(pixels).max() <= 1


def test_sixteen_bit_at_full_scale_is_the_same_picture() -> None:
    eight = noise(128, 128, 3)
    sixteen = eight.astype(np.uint16) * 257
    assert np.abs(preprocess(eight, 64) - preprocess(sixteen, 64)).max() < 0.01


def test_grey_is_the_same_picture_in_three_channels() -> None:
    grey = noise(200, 200)
    assert np.array_equal(preprocess(grey, 64), preprocess(grey[:, :, None].repeat(3, axis=2), 64))


def test_shrinking_a_frame_does_not_alias() -> None:
    stripes = np.zeros((1080, 1440), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(preprocess(stripes, 256) * 128 + 127 - 127.5).max() < 2


def test_blue_and_red_are_exchanged() -> None:
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[:, :, 0] = 255
    assert preprocess(blue, 64)[0, 0].tolist() == [-127 / 128, -127 / 128, 1.0]


@pytest.mark.parametrize(
    "image", [np.zeros((0, 5), np.uint8), np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8)]
)
def test_what_is_no_image_is_unreadable_and_says_why(image: Image) -> None:
    with pytest.raises(ImageUnreadable, match="allowed: uint8 or uint16"):
        preprocess(image, 64)


@pytest.mark.parametrize("size", [(256, 256), (96, 160), (257, 255)])
def test_our_network_is_timms_bit_for_bit(size: tuple[int, int]) -> None:
    import timm

    weights = read_weights(weights_path()).values()
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False, out_indices=(2, 3, 4))
    ours = EfficientNetLite0()
    for network in (theirs, ours):
        network.load_state_dict(dict(zip(network.state_dict(), weights, strict=False)))
        network.eval()
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = zip(theirs(pixels), ours(pixels), strict=True)
    assert all(torch.equal(wanted, found) for wanted, found in pairs)


def test_folding_the_norms_changes_nothing_that_matters() -> None:
    import timm

    plain = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False, out_indices=(2, 3, 4))
    plain.load_state_dict(dict(zip(plain.state_dict(), read_weights(weights_path()).values(), strict=False)))
    image = noise(96, 96, 3)
    with torch.inference_mode():
        wanted = plain.eval()(torch.from_numpy(preprocess(image, 96)).permute(2, 0, 1)[None])
    for found, expected in zip(EfficientNetLite(96).features(image), wanted, strict=True):
        assert float((found - expected[0]).abs().max()) < 1e-3


@pytest.mark.parametrize("size", [64, 96, 256])
def test_onnx_runtime_computes_what_torch_does(size: int) -> None:
    network = build()
    pixels = torch.from_numpy(preprocess(noise(size, size, 3), size)).permute(2, 0, 1)
    with torch.inference_mode():
        expected = network(pixels[None])
    for stage, wanted in zip(OnnxNetwork(network, size)(pixels), expected, strict=True):
        assert (stage - wanted[0]).abs().max() <= 2e-5 * wanted.abs().max()
