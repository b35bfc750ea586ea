"""`adline bench retrain` times what a run does: the features, and what is learned from them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.main import app

runner = CliRunner()


def test_it_tells_what_is_saved_by_keeping_features() -> None:
    done = runner.invoke(app, ["bench", "retrain", "--frames", "120", "--frame", "320x240", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["frames"], told["frame"]) == (120, "320x240")
    fresh = told["parts"]["fresh"]
    assert told["fresh_seconds"] == pytest.approx(fresh["features"] + fresh["learning"], abs=0.02)
    assert told["share"] == pytest.approx(told["cached_seconds"] / told["fresh_seconds"], abs=0.01)
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
