"""The API of training runs: engineers ask and cancel, others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import training_runs
from storage.stream import EventLog
from storage.training_models import Cause, RunState
from tests.facts import RECIPE, Plant
from tests.integration.gate_report import report_on_record
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


def test_the_gates_page_is_served_to_those_who_may_see_models_and_may_do_nothing(up: Served) -> None:
    run_id = report_on_record(up.database, up.home)
    asking, url = browser(up), f"{RUNS}/{run_id}/report"
    assert asking.get(url).status_code == 401
    assert asking.get(url, headers=headers(up, "otto")).status_code == 403
    for name in ("eun-ji", "aude", "ada"):
        answer = asking.get(url, headers=headers(up, name))
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].split("; ") == [
            "default-src 'none'",
            "img-src data:",
            "style-src 'unsafe-inline'",
            *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "sandbox"),
        ]
        assert "Confusion" in answer.text and "data:image/png" in answer.text
    (version,) = [one for one in asking.get("/api/v1/models", headers=headers(up, "aude")).json() if one["report"]]
    assert (version["id"], version["training_run"]) == ("retrained", str(run_id))


def test_a_report_that_is_not_there_or_lies_elsewhere_is_not_served(up: Served) -> None:
    asking, by = browser(up), headers(up, "eun-ji")
    run_id = report_on_record(up.database, up.home)
    (up.home / "training" / str(run_id) / "report.html").unlink()
    gone = asking.get(f"{RUNS}/{run_id}/report", headers=by)
    assert gone.status_code == 404 and "not in the state folder any more" in gone.json()["detail"]
    (up.home / "secret").write_text("of the line")
    other = report_on_record(up.database, up.home, "other", report="training/../secret")
    assert asking.get(f"{RUNS}/{other}/report", headers=by).status_code == 404
    waits = asking.post(RUNS, json={}, headers=by).json()
    nothing = asking.get(f"{RUNS}/{waits['id']}/report", headers=by)
    assert nothing.status_code == 404 and "has no report" in nothing.json()["detail"]
