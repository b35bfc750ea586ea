"""`adline drift`, on the records of a database of one's own."""

from __future__ import annotations

import pytest

from storage import drift
from storage.drift_models import DriftMeasurement, DriftReference
from storage.events import now
from tests.command import Command
from tests.facts import MODEL, RECIPE, STATION, Plant


@pytest.fixture
def moved(plant: Plant, adline: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    """An alarm is on record."""
    monkeypatch.setenv("DATABASE_URL", plant.database.url)
    of_camera = {"station": STATION, "camera": "top", "recipe": RECIPE, "model_version": MODEL}
    span = {"frames": 30, "first_at": now(), "last_at": now()}
    with plant.database.begin() as session:
        reference = DriftReference(**of_camera, **span, facts={}, edges=b"")
        session.add(reference)
        session.flush()
        facts = {"cause": "position", "sentence": "the parts are seen 5.0 pixels to the right", "figures": {"psi": 0.4}}
        measurement = DriftMeasurement(**of_camera, **span, **facts, reference=reference.id, psi=0.4, ks=0.3)
        session.add(measurement)
        session.flush()
        alarm = drift.raise_alarm(session, measurement, pauses_retraining=True)
        assert alarm is not None
        return alarm.id


def test_an_alarm_is_listed_shown_and_acknowledged(moved: int, adline: Command) -> None:
    (listed,) = adline.json("drift", "list")
    assert (listed["alarm"], listed["cause"], listed["pauses_retraining"]) == (moved, "position", True)
    assert adline.json("drift", "show", str(moved))["figures"] == {"psi": 0.4}
    assert adline("status") == 0 and "5.0 pixels to the right" in adline.out
    assert adline("drift", "acknowledge", str(moved), "--reason", "fixture tightened") == 0
    assert f"drift alarm {moved} is acknowledged by console:" in adline.out
    assert adline.json("drift", "list") == []
    (kept,) = adline.json("drift", "list", "--all")
    assert kept["reason"] == "fixture tightened"
    assert len(adline.json("drift", "list", "--measurements")) == 1


def test_an_alarm_is_acknowledged_once_and_with_a_reason(moved: int, adline: Command) -> None:
    assert adline("drift", "acknowledge", str(moved), "--reason", " ") == 1 and "needs a reason" in adline.err
    assert adline("drift", "acknowledge", "77", "--reason", "x") == 1 and f"open ones: {moved}" in adline.err
    assert adline("drift", "show", "77") == 1 and "there is no drift alarm 77" in adline.err
