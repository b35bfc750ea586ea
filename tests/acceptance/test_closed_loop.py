"""`adline start --oracle`: labels, a training run, the gate's decision, F1 before and after, and no part lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.command import Adline

pytestmark = [pytest.mark.usefixtures("alone"), pytest.mark.timeout(900)]

PARTS = 100
TRAINING_SECONDS = 600.0
"""Half a minute where there is a core to spare; training gets what the rest of the machine leaves."""
LABELS = 60
RECIPE = "ADLINE_RECIPES__elpv-mono__"
SMALL = {
    f"{RECIPE}TEACH__COUNT": "60",
    f"{RECIPE}IMAGE_SIZE": "96",
    f"{RECIPE}SAMPLE_RATE": "1",
    f"{RECIPE}NG_SAMPLE_RATE": "1",
    f"{RECIPE}RETRAIN__AFTER_LABELS": str(LABELS),
    f"{RECIPE}RETRAIN__TEST_SHARE": "0.4",
    f"{RECIPE}GATE__MINIMUM_GOOD": "5",
    f"{RECIPE}GATE__MINIMUM_ANOMALIES": "5",
    f"{RECIPE}GATE__DISTURBED_PARTS": "4",
    f"{RECIPE}GATE__RESAMPLES": "200",
    "ADLINE_TRAINING__IDLE_ONLY": "false",
}
"""As few as still make a training run with a decision; the environment says so, and the oracle's own settings yield."""


def test_the_loop_closes_by_itself_and_the_json_adds_up(tmp_path: Path) -> None:
    with Adline(tmp_path, "start", "--oracle", "--parts", str(PARTS), "--json", environ=SMALL) as adline:
        assert adline.finish(TRAINING_SECONDS) == 0, adline.said()
        told = adline.answer()
    assert (told["parts"], told["lost"], told["duplicated"], told["open_reviews"]) == (PARTS, 0, 0, 0)
    assert sum(told["verdicts"].values()) == PARTS and told["verdicts"]["ERROR"] == 0
    decided = told["decided"]
    assert sum(decided.values()) == PARTS, "every part was put before the oracle, and decided"
    assert told["labels"] == decided["normal"] + decided["anomaly"] >= LABELS, "what nobody could tell is no label"
    assert told["training_runs"] == len(told["runs"]) >= 1
    run = told["runs"][0]
    assert (run["cause"], run["state"], run["error"]) == ("labels", "done", None)
    assert run["sentence"].startswith(("promoted: ", "not yet: ", "refused: "))
    assert run["candidate"] and run["candidate"] != run["champion"]
    assert told["promoted"] == sum(one["promoted"] for one in told["runs"])
    assert 0 < told["pool"] == sum(told["pool_cells"].values()) < told["labels"]
    assert told["pool_cells"].keys() == {"mono"}
    assert 0 <= told["f1_before"] <= 1 and 0 <= told["f1_after"] <= 1
    if not told["promoted"]:
        assert told["f1_after"] == told["f1_before"], "the champion still is what it was"
