"""`adline threshold` on real records, while the line is stopped."""

from __future__ import annotations

import csv
import getpass
import io
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from storage import labels, records, reviews
from storage.database import Database
from storage.events import Verdict
from storage.resolution import Resolution
from storage.reviews import Claimant
from tests.command import Command
from tests.integration.line_on_record import MODEL, model_version, write_line
from workers.detectors.calibration import anomaly_score, calibrate, false_rejects_to_come, score_of

CALIBRATION = calibrate([number / 100 for number in range(1, 100)], 0.05, 0.05)
SCORES = {"P-1": 0.1, "P-2": 0.45, "P-3": 0.55, "P-4": 0.9}
PARTS = [
    ("P-1", "L-1", Verdict.OK, b"one"),
    ("P-2", "L-1", Verdict.REVIEW, b"two"),
    ("P-3", "L-1", Verdict.REVIEW, b"three"),
    ("P-4", "L-1", Verdict.NG, b"four"),
]
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"  # a test may run past midnight
YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


@pytest.fixture
def adline(adline: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return adline


@pytest.fixture
def inspections(database: Database, tmp_path: Path) -> list[UUID]:
    """Four parts, judged OK below 0.4 and NG from 0.6 on by a calibrated model."""
    metrics = {"calibration": asdict(CALIBRATION)}
    return write_line(database, tmp_path / ".adline" / "images", PARTS, scores=SCORES, metrics=metrics)


def simulated(adline: Command, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = adline.json("threshold", "simulate", "--from", YESTERDAY, "--to", TOMORROW, *options)
    return found


def test_show_tells_thresholds_promise_and_what_was_seen(adline: Command, inspections: list[UUID]) -> None:
    (shown,) = adline.json("threshold", "show")
    assert (shown["recipe"], shown["model_version"], shown["set_by"]) == ("bracket", MODEL, "calibration")
    assert (shown["ok_threshold"], shown["ng_threshold"]) == (0.4, 0.6)
    assert shown["target_false_reject_rate"] == 0.05 and shown["held_out_good_parts"] == 99
    assert shown["false_reject_interval"] == pytest.approx(list(CALIBRATION.false_reject_interval))
    assert shown["parts_needed"]["0.05"] == 19 and shown["parts_needed"]["0.001"] == 999
    assert shown["false_rejects_to_come"]["1000"] == list(false_rejects_to_come(CALIBRATION, 1000))
    assert list(shown["false_rejects_to_come"]) == ["100", "1000", "10000"]
    assert shown["observed"]["parts"] == 4 and shown["observed"]["false_reject_rate"] is None
    assert adline("threshold", "show", "bracket") == 0
    assert "at most 0.05 of good parts are rejected on average" in adline.out
    low, high = shown["false_rejects_to_come"]["10000"]
    assert f"{low} to {high} of 10,000" in adline.out
    assert adline("threshold", "show", "unknown") == 1
    assert adline.err == "adline: recipe 'unknown' has no deployed model; recipes that have one: bracket\n"


def say(database: Database, inspection_id: UUID, decision: str) -> None:
    """A person decides the part."""
    with database.begin() as session:
        review_id = reviews.look_again(session, inspection_id, "anna")
        claimant = Claimant("anna", timedelta(minutes=5), timedelta(hours=8))
        reviews.claim_this(session, claimant, review_id)
        state = reviews.locked(session, review_id)
        label = labels.write(session, state, "anna", Resolution.model_validate({"decision": decision}), 1)
        labels.settle(session, state, label, final=True)


def test_what_people_said_of_the_parts_tells_the_false_rejects(
    adline: Command, database: Database, inspections: list[UUID]
) -> None:
    ok, uncertain, other, rejected = inspections
    say(database, ok, "normal")
    say(database, uncertain, "normal")
    assert adline("threshold", "show") == 0 and "not enough for a rate" in adline.out
    say(database, other, "anomaly")
    say(database, rejected, "normal")
    (observed,) = [one["observed"] for one in adline.json("threshold", "show")]
    assert observed["labels"]["REVIEW"] == {"normal": 1, "anomaly": 1}
    assert observed["false_reject_rate"] == pytest.approx(1 / 3), "one of three good parts was rejected"
    low, high = observed["rejects_that_were_good"]
    assert (round(low, 3), high) == (0.025, 1.0), "Clopper-Pearson, one of one"
    assert adline("threshold", "show") == 0 and "so 0.3333 of good parts are rejected" in adline.out
    say(database, rejected, "cannot_tell")
    (observed,) = [one["observed"] for one in adline.json("threshold", "show")]
    assert observed["false_reject_rate"] is None and observed["rejects_that_were_good"] is None


def test_who_set_them_is_whoever_sits_at_the_terminal(adline: Command, inspections: list[UUID]) -> None:
    shown = adline.json("threshold", "set", "bracket", "--ng", "0.5", "--reason", "tried")
    assert shown["set_by"] == f"console:{getpass.getuser()}"


def test_set_appends_who_when_and_why(adline: Command, inspections: list[UUID]) -> None:
    arguments = ("threshold", "set", "bracket", "--by", "anna")
    adline.json(*arguments, "--ng", "0.5", "--reason", "a crack got through")
    shown = adline.json(*arguments, "--ok", "0.2", "--reason", "more reviews")
    assert (shown["ok_threshold"], shown["ng_threshold"]) == (0.2, 0.5)
    assert shown["false_rejects_to_come"] == {}
    assert (shown["set_by"], shown["reason"]) == ("anna", "more reviews")
    question = (
        "SELECT ok_threshold, ng_threshold, set_by, reason, replaced_at FROM v_threshold_settings ORDER BY set_at"
    )
    first, second = adline.json("audit", "sql", question)
    assert (first["ok_threshold"], first["ng_threshold"], first["reason"]) == (0.4, 0.5, "a crack got through")
    assert first["replaced_at"] is not None and second["replaced_at"] is None
    assert adline("threshold", "show") == 0 and "set by anna" in adline.out


def test_what_is_promised_of_thresholds_given_by_hand_is_counted_on_held_out_parts(
    adline: Command, inspections: list[UUID]
) -> None:
    tenth = float(anomaly_score(CALIBRATION, np.array(CALIBRATION.good_raw_scores))[89])
    shown = adline.json("threshold", "set", "bracket", "--ok", "0.1", "--ng", f"{tenth!r}", "--reason", "tried")
    assert "10 of 99 held-out good parts are rejected" in shown["statement"]
    low, high = shown["false_reject_interval"]
    assert 0.04 < low < 10 / 99 < high < 0.19
    assert shown["target_false_reject_rate"] is None


@pytest.mark.parametrize("told", [True, False])
def test_where_parts_were_held_out_by_turns_the_promise_is_said_to_be_near(
    adline: Command, database: Database, tmp_path: Path, told: bool
) -> None:
    """told: on record; before it was, a patchcore was calibrated so all the same."""
    calibration = asdict(CALIBRATION) | {"by_turns": True}
    if not told:
        del calibration["by_turns"]
    write_line(database, tmp_path / ".adline" / "images", PARTS, scores=SCORES, metrics={"calibration": calibration})
    assert adline("threshold", "show") == 0
    assert "about 0.05 of good parts are rejected on average" in adline.out and "near, not exact" in adline.out
    for wanted in (("--false-reject-rate", "0.1"), ("--ok", "0.1", "--ng", "0.6")):
        shown = adline.json("threshold", "set", "bracket", *wanted, "--reason", "tried")
        assert shown["statement"].endswith("near, not exact")


def test_a_false_reject_rate_becomes_thresholds_by_the_stored_calibration(
    adline: Command, inspections: list[UUID]
) -> None:
    shown = adline.json("threshold", "set", "bracket", "--false-reject-rate", "0.1", "--reason", "fewer escapes")
    wanted = calibrate(CALIBRATION.good_raw_scores, 0.1, 0.05)
    assert shown["ng_threshold"] == pytest.approx(score_of(CALIBRATION, wanted.raw_threshold))
    assert shown["ok_threshold"] == pytest.approx(score_of(CALIBRATION, wanted.raw_ok_threshold))
    assert shown["target_false_reject_rate"] == 0.1
    assert shown["false_reject_interval"] == pytest.approx(list(wanted.false_reject_interval))
    assert adline("threshold", "set", "bracket", "--false-reject-rate", "0.001", "--reason", "none at all") == 1
    assert "99 held-out good parts were given; a false-reject rate of 0.001 needs 999" in adline.err


def test_a_model_that_was_never_calibrated_promises_nothing_and_takes_no_rate(
    adline: Command, database: Database, tmp_path: Path
) -> None:
    write_line(database, tmp_path / "images", PARTS)
    (shown,) = adline.json("threshold", "show")
    assert "nothing is promised about false rejects" in shown["statement"]
    assert shown["false_reject_interval"] == [0.0, 1.0]
    assert adline("threshold", "set", "bracket", "--false-reject-rate", "0.05", "--reason", "why not") == 1
    assert "was made without known-good parts" in adline.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--reason", "x"), 2, "give --ok, --ng or both"),
        (("--ok", "0.2", "--reason", "  "), 2, "say why"),
        (("--ok", "0.2"), 2, "--reason"),
        (("--ok", "1.2", "--reason", "x"), 2, "less than or equal to 1"),
        (("--ok", "nan", "--reason", "x"), 2, "less than or equal to 1"),
        (("--ng", "0.3", "--false-reject-rate", "0.1", "--reason", "x"), 2, "computes both"),
        (("--false-reject-rate", "nan", "--reason", "x"), 2, "allowed above 0, below 1"),
        (("--false-reject-rate", "1", "--reason", "x"), 2, "allowed above 0, below 1"),
        (("--ng", "0.3", "--review-share", "0.1", "--reason", "x"), 2, "goes with --false-reject-rate"),
        (("--ng", "0.3", "--reason", "x"), 1, "OK below 0.4, NG from 0.3; allowed: from 0 to 1"),
    ],
)
def test_thresholds_that_make_no_sense_are_answered_with_what_is_allowed(
    adline: Command, inspections: list[UUID], options: tuple[str, ...], code: int, told: str
) -> None:
    assert adline("threshold", "set", "bracket", *options) == code
    assert told in adline.err
    assert adline.json("audit", "sql", "SELECT * FROM v_threshold_settings") == []


def test_simulate_counts_and_lists_the_parts_that_would_change(adline: Command, inspections: list[UUID]) -> None:
    found = simulated(adline, "--ok", "0.5", "--ng", "0.95")
    (station,) = found["stations"]
    assert station["then"] == {"OK": 1, "NG": 1, "REVIEW": 2, "ERROR": 0}
    assert station["now"] == {"OK": 2, "NG": 0, "REVIEW": 2, "ERROR": 0}
    changes = [(part["part_id"], part["then"], part["now"]) for part in found["changed"]]
    assert changes == [("P-2", "REVIEW", "OK"), ("P-4", "NG", "REVIEW")]
    assert found["changed"][0]["reason"] == "top: anomaly score 0.4500 < OK threshold 0.5000"
    assert adline("threshold", "simulate", "--from", YESTERDAY, "--to", TOMORROW, "--ng", "0.5") == 0
    assert "2 → 1" in adline.out and "P-3" in adline.out


def test_simulate_by_a_rate_uses_each_models_own_calibration(adline: Command, inspections: list[UUID]) -> None:
    (used,) = simulated(adline, "--false-reject-rate", "0.1")["thresholds"]
    shown = adline.json("threshold", "set", "bracket", "--false-reject-rate", "0.1", "--reason", "as simulated")
    assert (used["ok_threshold"], used["ng_threshold"]) == (shown["ok_threshold"], shown["ng_threshold"])


def test_without_thresholds_simulate_judges_by_those_in_force(adline: Command, inspections: list[UUID]) -> None:
    assert simulated(adline)["changed"] == []
    adline.json("threshold", "set", "bracket", "--ng", "0.5", "--reason", "a crack got through")
    assert [part["part_id"] for part in simulated(adline)["changed"]] == ["P-3"]


def test_a_part_sampled_for_review_stays_sampled(adline: Command, database: Database, tmp_path: Path) -> None:
    parts = [("P-1", "L-1", Verdict.REVIEW, b"one")]
    write_line(database, tmp_path / "images", parts, scores={"P-1": 0.1}, sample_rate=1.0)
    (station,) = simulated(adline, "--ok", "0.3", "--ng", "0.9")["stations"]
    assert station["now"]["REVIEW"] == 1 and station["changed"] == 0


def test_simulate_knows_days_moments_and_recipes(adline: Command, inspections: list[UUID]) -> None:
    for since, until, parts in (
        (YESTERDAY, TOMORROW, 4),
        (YESTERDAY, YESTERDAY, 0),
        (f"{TODAY}T00:00+00:00", TOMORROW, 4),
    ):
        found = adline.json("threshold", "simulate", "--from", since, "--to", until)
        assert sum(station["parts"] for station in found["stations"]) == parts
    assert simulated(adline, "--recipe", "another")["stations"] == []
    assert adline("threshold", "simulate", "--from", "tomorrow", "--to", TOMORROW) == 2
    assert adline("threshold", "simulate", "--from", TODAY, "--to", YESTERDAY) == 2


def test_simulate_writes_the_changed_parts_as_csv(adline: Command, inspections: list[UUID]) -> None:
    assert adline("threshold", "simulate", "--from", YESTERDAY, "--to", TOMORROW, "--ng", "0.5", "--csv") == 0
    (row,) = csv.DictReader(io.StringIO(adline.out))
    assert (row["part_id"], row["then"], row["now"], row["model_version"]) == ("P-3", "REVIEW", "NG", MODEL)
    assert adline("threshold", "simulate", "--from", YESTERDAY, "--to", TOMORROW, "--csv", "--json") == 2


def test_another_model_version_starts_with_its_own_thresholds(
    adline: Command, database: Database, inspections: list[UUID]
) -> None:
    adline.json("threshold", "set", "bracket", "--ng", "0.5", "--reason", "a crack got through")
    with database.begin() as session:
        records.register_model(session, model_version("e" * 64, id="bracket-20261123-2"))
        records.deploy(session, "bracket", "bracket-20261123-2", "anna", "retrained")
    (shown,) = adline.json("threshold", "show")
    assert (shown["ok_threshold"], shown["ng_threshold"], shown["set_by"]) == (0.4, 0.6, "calibration")


def test_the_embedded_database_is_borrowed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adline = Command(tmp_path, monkeypatch, capsys)
    assert adline("threshold", "show") == 1 and adline.err.startswith("adline: there are no records in")
    assert adline("db", "migrate") == 0
    assert adline("threshold", "show") == 0 and adline.out == "no model is deployed\n"
    assert adline("threshold", "set", "bracket", "--ng", "0.5", "--reason", "x") == 1
    assert "recipe 'bracket' has no deployed model; recipes that have one: none" in adline.err
