"""`adline bench retrain` times what a run does: the features, and what is learned from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from workers.detectors.forward_cost import configuration
from workers.retrain.bench_clip import bench_anomalyclip
from workers.retrain.bench_frames import Pixels

runner = CliRunner()


def test_it_tells_what_is_saved_by_keeping_features() -> None:
    done = runner.invoke(app, ["bench", "retrain", "--frames", "120", "--frame", "320x240", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["detector"], told["frames"], told["frame"]) == ("supervised", 120, "320x240")
    fresh = told["parts"]["fresh"]
    assert told["fresh_seconds"] == pytest.approx(fresh["features"] + fresh["learning"], abs=0.02)
    assert told["share"] == pytest.approx(told["cached_seconds"] / told["fresh_seconds"], abs=0.01)
    new = told["new"]
    assert new["frames"] == 6
    assert new["share"] == pytest.approx((new["features"] + new["learning"]) / told["fresh_seconds"], abs=0.01)
    anew = told["memory_anew"]
    assert anew["fresh"]["learning"] == anew["cached"]["learning"] > 0
    seconds = [anew[name]["features"] + anew[name]["learning"] for name in ("cached", "fresh")]
    assert anew["share"] == pytest.approx(seconds[0] / seconds[1], abs=0.01)
    assert told["cache_bytes"] > 120 * 500_000, "features of two looks, and what is learned from them"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (["--frames", "5000"], "--frames: 5000 labelled cells are asked for; the dataset has 2223"),
        (["--frame", "wide"], "--frame is 'wide'; allowed: WIDTHxHEIGHT in pixels, such as 1440x1080"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_can(choice: list[str], told: str) -> None:
    done = runner.invoke(app, ["bench", "retrain", *choice])
    assert done.exit_code != 0
    assert told in str(done.exception) + done.output


def test_it_tells_what_is_saved_by_keeping_what_a_clip_saw(tmp_path: Path) -> None:
    small = replace(configuration("ViT-B-32"), image_size=64, vision_layers=3, dpam_layer=2, features_list=(3,))
    steps: list[str] = []
    told = bench_anomalyclip(80, Pixels(320, 240), tmp_path, 0, steps.append, replace(small, text_layers=2, depth=2))
    assert (told["detector"], told["clip"], told["frames"]) == ("anomalyclip", "weights of noise", 80)
    for name in ("fresh", "cached"):
        parts = told["parts"][name]
        assert set(parts) == {"features", "memory", "scores", "learning"}
        assert told[f"{name}_seconds"] == pytest.approx(sum(parts.values()), abs=0.03)
        assert parts["memory"] > 0 and parts["scores"] > 0, "of another memory no score is kept"
    assert told["features_share"] < 0.5 and told["share"] < 1
    assert steps[0].startswith("fresh: ") and steps[-1] == "cached: learning from labels"


def test_which_detector_is_told() -> None:
    done = runner.invoke(app, ["bench", "retrain", "--detector", "brightness"])
    assert done.exit_code == 2 and "'supervised', 'anomalyclip'" in done.output
