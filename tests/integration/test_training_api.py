"""The API of training runs: engineers ask and cancel, others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import training_runs
from storage.stream import EventLog
from storage.training_models import Cause, RunState
from tests.facts import RECIPE, Plant
from tests.integration.served import Served, browser
from tests.integration.staff import hire, showing

RUNS = "/api/v1/training"


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    hire(plant.database)
    return Served(plant, log, tmp_path, is_demo=False)


def headers(up: Served, name: str) -> dict[str, str]:
    return showing(up.database, name, "token")


def test_an_engineer_asks_for_a_run_sees_it_and_cancels_it(up: Served) -> None:
    asking, by = browser(up), headers(up, "eun-ji")
    asked = asking.post(RUNS, json={}, headers=by)
    assert asked.status_code == 202, asked.text
    run = asked.json()
    assert (run["recipe"], run["cause"], run["requested_by"], run["state"]) == (RECIPE, "hand", "eun-ji", "queued")
    assert asking.post(RUNS, json={"recipe": RECIPE, "seed": 7}, headers=by).json()["id"] == run["id"]
    assert [one["id"] for one in asking.get(RUNS, headers=by).json()] == [run["id"]]
    cancelled = asking.post(f"{RUNS}/{run['id']}/cancel", headers=by)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert asking.get(f"{RUNS}/{run['id']}", headers=by).json()["cancel_asked_by"] == "eun-ji"
    late = asking.post(f"{RUNS}/{run['id']}/cancel", headers=by)
    assert late.status_code == 409 and "has ended already: cancelled" in late.json()["detail"]


def test_what_is_not_there_is_told_with_what_is(up: Served) -> None:
    asking, by = browser(up), headers(up, "eun-ji")
    unknown = asking.post(RUNS, json={"recipe": "casting"}, headers=by)
    assert unknown.status_code == 404 and f"the stations run {RECIPE}" in unknown.json()["detail"]
    assert asking.get(f"{RUNS}/{up.run_id}", headers=by).status_code == 404


def test_an_operator_sees_no_run_and_an_auditor_changes_none(up: Served) -> None:
    asking = browser(up)
    assert asking.get(RUNS, headers=headers(up, "otto")).status_code == 403
    assert asking.post(RUNS, json={}, headers=headers(up, "otto")).status_code == 403
    assert asking.get(RUNS, headers=headers(up, "aude")).status_code == 200
    assert asking.post(RUNS, json={}, headers=headers(up, "aude")).status_code == 403
    with up.database.begin() as session:
        assert training_runs.under_way(session) == 0
        run = training_runs.ask(session, RECIPE, Cause.CRON, "adline", 0)
        assert run.state is RunState.QUEUED
