from __future__ import annotations

import hashlib
import http.server
import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import open_clip
import pytest
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

from cli.model import app
from storage.errors import (
    DownloadFailed,
    ModelAltered,
    ModelConfigurationWrong,
    ModelShapeWrong,
    WeightsMissing,
    WeightsUnreadable,
)
from tests.unit import tiny_clip
from workers.detectors import clip_catalogue, prompts, weights
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.clip_catalogue import Source
from workers.detectors.weight_files import WeightFile
from workers.detectors.weight_folder import WeightKind, find_clip

TINY = "ViT-tiny-of-tests"
NAME = f"{TINY}:random"


@pytest.fixture(autouse=True, scope="module")
def tiny_model_in_the_catalogue(tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = tiny_clip.Shape()
    config = {
        "embed_dim": shape.embedding,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": shape.native_grid * shape.patch,
            "layers": shape.vision_layers,
            "width": shape.vision_width,
            "patch_size": shape.patch,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": tiny_clip.VOCABULARY,
            "width": shape.text_width,
            "heads": 1,
            "layers": shape.text_layers,
        },
    }
    folder = tmp_path_factory.mktemp("models")
    (folder / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture
def clip_file(tmp_path: Path) -> Path:
    path = tmp_path / "open_clip_model.safetensors"
    safetensors.torch.save_file(tiny_clip.weights(), path)
    return path


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves one file, with ranges, and breaks off once after `break_after` bytes."""

    content: ClassVar[bytes] = b""
    break_after: ClassVar[int | None] = None
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        end, type(self).break_after = self.break_after, None
        self.wfile.write(self.content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def publisher(clip_file: Path) -> Iterator[tuple[type[Publisher], str]]:
    class Fresh(Publisher):
        content = clip_file.read_bytes()
        break_after = None
        ranges: ClassVar[list[str | None]] = []

    with http.server.HTTPServer(("127.0.0.1", 0), Fresh) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Fresh, f"http://127.0.0.1:{server.server_port}/open_clip_model.safetensors"
        server.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_pulled_weights_are_checked_stored_and_found(publisher: tuple[type[Publisher], str], tmp_path: Path) -> None:
    server, url = publisher
    told: list[tuple[int, int | None]] = []
    source = Source(url, "open_clip_model.safetensors", sha256(server.content))
    stored = weights.pull(NAME, tmp_path / "models", lambda *step: told.append(step), source)
    assert told[-1] == (len(server.content), len(server.content))
    found = find_clip(NAME, tmp_path / "models")
    assert found == stored
    assert found.choices["activation"] == "quick_gelu"
    expected = tiny_clip.weights()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in found.load().items())
    assert [path.name for path in (tmp_path / "models" / "downloads").rglob("*") if path.is_file()] == []


def test_weights_that_are_here_are_not_fetched_again(publisher: tuple[type[Publisher], str], tmp_path: Path) -> None:
    server, url = publisher
    source = Source(url, "open_clip_model.safetensors", sha256(server.content))
    first = weights.pull(NAME, tmp_path / "models", source=source)
    assert weights.pull(NAME, tmp_path / "models", source=source) == first
    assert server.ranges == [None]


def test_an_interrupted_download_goes_on_where_it_stopped(
    publisher: tuple[type[Publisher], str], tmp_path: Path
) -> None:
    server, url = publisher
    source = Source(url, "open_clip_model.safetensors", sha256(server.content))
    server.break_after = 1_000_000
    with pytest.raises(DownloadFailed, match="goes on from there"):
        weights.pull(NAME, tmp_path / "models", source=source)
    weights.pull(NAME, tmp_path / "models", source=source)
    assert server.ranges == [None, "bytes=1000000-"]
    assert find_clip(NAME, tmp_path / "models").load().keys() == tiny_clip.weights().keys()


def test_a_download_whose_last_byte_had_arrived_is_not_fetched_again(
    publisher: tuple[type[Publisher], str], tmp_path: Path
) -> None:
    server, url = publisher
    partial = tmp_path / "models" / "downloads" / f"{TINY}.random" / "open_clip_model.safetensors.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(server.content)
    weights.pull(NAME, tmp_path / "models", source=Source(url, partial.stem, sha256(server.content)))
    assert server.ranges == [f"bytes={len(server.content)}-"]


def test_a_download_with_another_hash_is_thrown_away(publisher: tuple[type[Publisher], str], tmp_path: Path) -> None:
    server, url = publisher
    with pytest.raises(ModelAltered, match=sha256(server.content)):
        weights.pull(NAME, tmp_path / "models", source=Source(url, "open_clip_model.safetensors", "0" * 64))
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []
    with pytest.raises(WeightsMissing):
        find_clip(NAME, tmp_path / "models")


def test_a_plant_without_a_network_is_told_what_to_do(tmp_path: Path) -> None:
    source = Source("http://127.0.0.1:1/weights.pt", "weights.pt", None)
    with pytest.raises(DownloadFailed, match="without a network here") as failed:
        weights.pull(NAME, tmp_path, source=source)
    assert f"adline model import FILE --name {NAME}" in str(failed.value)


@pytest.mark.parametrize(
    ("name", "model", "digits"),
    [
        ("ViT-B/32", "ViT-B-32", "40d3657159"),
        ("ViT-B-16", "ViT-B-16", "5806e77cd8"),
        ("ViT-L/14", "ViT-L-14", "b8cca3fd41"),
        ("ViT-L/14@336px", "ViT-L-14-336", "3035c92b35"),
        ("ViT-L-14-336:openai", "ViT-L-14-336", "3035c92b35"),
    ],
)
def test_openais_four_are_known_by_either_spelling_with_their_hash(name: str, model: str, digits: str) -> None:
    clip = clip_catalogue.parse(name)
    source = clip_catalogue.source(clip)
    assert str(clip) == f"{model}:openai"
    assert source.sha256 is not None and source.sha256.startswith(digits) and len(source.sha256) == 64
    assert source.file_name.endswith(".pt")
    assert clip_catalogue.choices(clip)["activation"] == "quick_gelu"


def test_what_the_shapes_do_not_tell_comes_from_the_catalogue() -> None:
    laion = clip_catalogue.choices(clip_catalogue.parse("ViT-H-14:laion2b_s32b_b79k"))
    assert (laion["activation"], laion["vision_head_width"], laion["text_head_width"]) == ("gelu", 80, 64)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ViT-Z/99", "not a model of open_clip; allowed for example"),
        ("ViT-B-32:../../etc", "given the tag"),
        ("RN50", "allowed: CLIP's plain transformers"),
        ("coca_ViT-B-32:laion2b_s13b_b90k", "allowed: CLIP's plain transformers"),
        ("ViT-B-16-SigLIP:webli", r"given a visual tower of timm \(vit_base_patch16_siglip_224\); allowed: CLIP's"),
    ],
)
def test_a_name_that_cannot_be_used_is_answered_with_what_can(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelConfigurationWrong, match=told):
        weights.pull(name, tmp_path)


def test_every_weights_of_open_clip_are_taken_or_refused_in_a_sentence() -> None:
    taken, refused = set(), set()
    for model, tag in open_clip.list_pretrained():
        try:
            clip_catalogue.choices(clip_catalogue.parse(f"{model}:{tag}"))
            taken.add(model)
        except ModelConfigurationWrong as error:
            assert "; allowed: CLIP's plain transformers, such as ViT-B-32, " in str(error)
            refused.add(model)
    assert set(clip_catalogue.PLAIN) <= taken
    assert taken.isdisjoint(refused) and {"RN50", "ViT-B-16-SigLIP", "EVA02-B-16", "convnext_base"} <= refused


def test_an_unknown_tag_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigurationWrong, match="tags of ViT-B-32: openai, "):
        weights.pull("ViT-B-32:mine", tmp_path)


def nest(flat: Mapping[str, Tensor]) -> nn.Module:
    """Modules whose state dict has these keys."""

    class Empty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    root = Empty()
    for key, tensor in flat.items():
        *path, name = key.split(".")
        module: nn.Module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Empty())
            module = module.get_submodule(part)
        module.register_buffer(name, tensor)
    return root


def test_openais_archive_is_read_with_its_half_precision(tmp_path: Path) -> None:
    halved = {key: tensor.half() for key, tensor in tiny_clip.weights().items()}
    extras = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(77)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nest(halved | extras)).save(tmp_path / "archive.pt")  # type: ignore[no-untyped-call]
    stored = weights.import_file(tmp_path / "archive.pt", tmp_path / "models", NAME)
    loaded = stored.load()
    assert all(loaded[key].dtype == torch.float32 for key in halved)
    assert all(torch.equal(loaded[key], tensor.float()) for key, tensor in halved.items())
    config = AnomalyCLIPConfig.for_clip(loaded, **stored.choices)
    AnomalyCLIP.from_weights(config, loaded, prompts.initialise(config, loaded, 0))


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module."])
def test_state_dicts_are_read_as_training_codes_write_them(tmp_path: Path, wrap: str) -> None:
    clip = tiny_clip.weights()
    content = {
        "plain": clip,
        "state_dict": {"epoch": 3, "state_dict": clip},
        "module.": {f"module.{key}": tensor for key, tensor in clip.items()},
    }[wrap]
    torch.save(content, tmp_path / "clip.pt")
    stored = weights.import_file(tmp_path / "clip.pt", tmp_path / "models", NAME)
    assert stored.load().keys() == clip.keys()


@pytest.mark.parametrize(
    ("name", "width", "layers", "patch", "grid", "text"),
    [
        ("ViT-B-32", 768, 12, 32, 7, 512),
        ("ViT-B-16", 768, 12, 16, 14, 512),
        ("ViT-L-14", 1024, 24, 14, 16, 768),
        ("ViT-L-14-336", 1024, 24, 14, 24, 768),
    ],
)
def test_openais_own_are_recognised_without_a_name(
    name: str, width: int, layers: int, patch: int, grid: int, text: int
) -> None:
    with torch.device("meta"):
        config = AnomalyCLIPConfig(
            vision_width=width,
            vision_layers=layers,
            vision_mlp_width=4 * width,
            patch_size=patch,
            native_grid=grid,
            text_width=text,
            text_mlp_width=4 * text,
            embedding_width=text,
            dpam_layer=1,
            features_list=(layers,),
        )
        shaped = AnomalyCLIP(config).state_dict()
    clip = weights.recognise(Path("clip.pt"), WeightFile(WeightKind.CLIP, shaped, from_openai=True))
    assert str(clip) == f"{name}:openai"


def test_others_weights_need_their_name_because_the_file_does_not_tell_the_activation(
    clip_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelConfigurationWrong, match="give its open_clip name"):
        weights.import_file(clip_file, tmp_path / "models")


def test_weights_with_a_nan_are_not_taken_in(tmp_path: Path) -> None:
    clip = tiny_clip.weights()
    clip["visual.proj"][0, 0] = float("inf")
    torch.save(clip, tmp_path / "clip.pt")
    with pytest.raises(ModelShapeWrong, match=r"visual\.proj: holds NaN or infinity"):
        weights.import_file(tmp_path / "clip.pt", tmp_path / "models", NAME)
    assert not (tmp_path / "models").exists()


def test_weights_under_the_name_of_another_model_are_refused(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnreadable, match="vision_width: given 64, ViT-B-32 has 768"):
        weights.import_file(clip_file, tmp_path / "models", "ViT-B-32:openai")


def write_published_prompts(path: Path, seed: int = 0) -> dict[str, Tensor]:
    clip = tiny_clip.weights(seed=seed)
    learned = prompts.initialise(AnomalyCLIPConfig.for_clip(clip), clip, 3)
    unused = {"compound_prompt_projections.0.weight": torch.zeros(8, 64)}
    torch.save({"prompt_learner": learned | unused}, path)
    return learned


def test_published_prompts_and_clip_weights_together_make_a_detector(clip_file: Path, tmp_path: Path) -> None:
    learned = write_published_prompts(tmp_path / "epoch_15.pth")
    weights.import_file(clip_file, tmp_path / "models", NAME)
    stored = weights.import_file(tmp_path / "epoch_15.pth", tmp_path / "models")
    assert (stored.kind, stored.name) == (WeightKind.PROMPTS, "epoch_15")
    assert stored.choices == {"n_ctx": 12, "depth": 3, "t_n_ctx": 4}
    detector = AnomalyCLIPDetector.from_folder(tmp_path / "models", NAME, "epoch_15", image_size=32)
    assert torch.equal(detector.model.prompt_learner.ctx_pos, learned["ctx_pos"])
    assert detector.model.config.activation == "quick_gelu"
    rounded = AnomalyCLIPDetector.from_folder(tmp_path / "models", NAME, "epoch_15", side_near=37)
    assert (rounded.image_size, detector.image_size) == (40, 32)


def test_prompts_learned_on_another_clip_do_not_make_a_detector(clip_file: Path, tmp_path: Path) -> None:
    write_published_prompts(tmp_path / "epoch_15.pth", seed=9)
    weights.import_file(clip_file, tmp_path / "models", NAME)
    weights.import_file(tmp_path / "epoch_15.pth", tmp_path / "models")
    with pytest.raises(ModelShapeWrong, match="learned on another CLIP"):
        AnomalyCLIPDetector.from_folder(tmp_path / "models", NAME, "epoch_15", image_size=32)


def test_a_detector_without_weights_says_which_command_gets_them(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="adline model pull ViT-L-14-336:openai"):
        AnomalyCLIPDetector.from_folder(tmp_path / "models", "ViT-L/14@336px", "epoch_15")
    weights.import_file(clip_file, tmp_path / "models", NAME)
    with pytest.raises(WeightsMissing, match=r"adline model import FILE .* a published epoch_N\.pth"):
        AnomalyCLIPDetector.from_folder(tmp_path / "models", NAME, "epoch_15")


def test_stored_weights_that_were_altered_are_refused(clip_file: Path, tmp_path: Path) -> None:
    stored = weights.import_file(clip_file, tmp_path / "models", NAME)
    content = bytearray(stored.file.read_bytes())
    content[-1] ^= 1
    stored.file.write_bytes(content)
    with pytest.raises(ModelAltered, match="the model was altered"):
        find_clip(NAME, tmp_path / "models").load()


class Attack:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("attacked"),))  # type: ignore[return-value]


def test_a_model_of_ours_without_prompts_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    safetensors.torch.save_file({"bank": torch.zeros(2, 3), "mean": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(
        WeightsUnreadable, match=r"given a file with bank, mean.*or the weights\.safetensors that a training"
    ):
        weights.import_file(tmp_path / "weights.safetensors", tmp_path / "models")


@pytest.mark.parametrize("content", ["hostile", "text", "list", "foreign", "empty", "cut"])
def test_a_file_that_holds_no_weights_is_refused_and_nothing_in_it_is_run(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pt"
    if content == "text":
        path.write_text("these are no weights, but a sentence")
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "cut":
        safetensors.torch.save_file({"visual.conv1.weight": torch.zeros(9, 9)}, path)
        path.write_bytes(path.read_bytes()[:-20])
    else:
        torch.save({"hostile": Attack(), "list": [1, 2], "foreign": {"fc.weight": torch.zeros(2)}}[content], path)
    with pytest.raises(WeightsUnreadable, match=r"weights\.pt"):
        weights.import_file(path, tmp_path / "models", NAME)
    assert not Path("attacked").exists()


def test_the_import_command_stores_and_tells(clip_file: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "models")
    ran = CliRunner().invoke(app, ["import", str(clip_file), "--name", NAME, "--models", folder, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["name"] == NAME
    description = yaml.safe_load(Path(told["file"]).with_name("weights.yaml").read_text())
    assert description["sha256"] == told["sha256"]


def test_commands_tell_an_error_in_a_sentence(clip_file: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["import", str(clip_file), "--models", str(tmp_path / "models")])
    assert ran.exit_code == 1
    assert "error: " in ran.stderr and "Traceback" not in ran.output
    missing = CliRunner().invoke(app, ["import", str(tmp_path / "nowhere.pt")])
    assert missing.exit_code == 2
