"""What an operator sees beside the image, how stations do, and a part's whole life."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from storage import records
from storage.estimates import stations
from storage.events import ReviewReason
from storage.life import life
from storage.sight import golden
from storage.stream import EventLog
from tests.facts import STATION, Plant, frame
from tests.integration.served import Served, browser
from tests.integration.test_queue import CRACK, NORMAL, Desk

ALIKE = (1.0, 0.0, 0.0)


@pytest.fixture
def desk(plant: Plant, log: EventLog, tmp_path: Path) -> Desk:
    return Desk(plant, log, tmp_path)


@pytest.fixture
def client(plant: Plant, log: EventLog, tmp_path: Path) -> TestClient:
    return browser(Served(plant, log, tmp_path))


def passed(desk: Desk, score: float, sampled: bool = False) -> UUID:
    """A part that the model passed."""
    captured = desk.plant.captured(desk.plant.trigger(), frame(data=str(score).encode()))
    reason = ReviewReason.SAMPLED if sampled else None
    event = desk.plant.decided(captured, score, review_reason=reason)
    with desk.database.begin() as session:
        records.record_verdicts(session, [event])
    return event.trigger.inspection_id


def seen(client: TestClient, review_id: object) -> dict[str, Any]:
    answer = client.get(f"/api/v1/reviews/{review_id}/sight")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_golden_sample_is_the_most_typical_part_the_model_passed_until_a_person_says_normal(
    desk: Desk, client: TestClient
) -> None:
    passed(desk, 0.05)
    typical = passed(desk, 0.24)
    desk.put()
    (view,) = seen(client, desk.claim().review_id)["views"]
    assert (view["golden"]["inspection_id"], view["golden"]["decided_by"]) == (str(typical), None)
    normal = desk.put(0.41)
    desk.decide("anna", NORMAL)
    with desk.database.begin() as session:
        found = golden(session, STATION, desk.plant.trigger().product, "top")
    assert found is not None and (found["inspection_id"], found["decided_by"]) == (normal, "anna")


def test_similar_parts_come_with_how_they_were_decided(desk: Desk, client: TestClient) -> None:
    desk.put(look=ALIKE)
    desk.decide("anna", CRACK)
    desk.put(look=ALIKE)
    (similar,) = seen(client, desk.claim().review_id)["similar"]
    assert (similar["label"]["decision"], similar["label"]["defects"]) == ("anomaly", ["crack"])


def test_the_parts_that_look_like_the_one_that_is_held_are_leased_with_it(desk: Desk, client: TestClient) -> None:
    for look in (ALIKE, ALIKE, (0.0, 1.0, 0.0)):
        desk.put(look=look)
    (held,) = client.post("/api/v1/reviews/claim", json={"policy": "oldest"}).json()["reviews"]
    alike = client.post(f"/api/v1/reviews/{held['review_id']}/alike", json={"token": held["token"]})
    (other,) = alike.json()["reviews"]
    both = [{"review_id": one["review_id"], "token": one["token"]} for one in (held, other)]
    decided = client.post("/api/v1/reviews/resolve", json={"held": both, "resolution": {"decision": "normal"}})
    assert [one["final"] for one in decided.json()] == [True, True]
    stale = client.post(f"/api/v1/reviews/{held['review_id']}/alike", json={"token": held["token"]})
    assert stale.status_code == 409


def test_a_review_nobody_knows_has_nothing_to_see(client: TestClient) -> None:
    assert client.get(f"/api/v1/reviews/{UUID(int=7)}/sight").status_code == 404


def test_escapes_are_counted_among_the_sampled_and_false_rejects_among_the_others(
    desk: Desk, client: TestClient
) -> None:
    for _ in range(3):
        passed(desk, 0.1, sampled=True)
    for resolution in (NORMAL, NORMAL, CRACK):
        desk.decide("anna", resolution)
    for resolution in (NORMAL, CRACK):
        desk.put(0.5)
        desk.decide("anna", resolution)
    with desk.database.begin() as session:
        (counts,) = stations(session, timedelta(hours=1))
    assert (counts.sampled, counts.escapes, counts.held_back, counts.false_rejects) == (3, 1, 2, 1)
    assert counts.verdicts["REVIEW"] + counts.verdicts["OK"] == 5
    (told,) = client.get("/api/v1/stations").json()
    assert told["escapes"]["found"] == 1 and told["escapes"]["low"] < 1 / 3 < told["escapes"]["high"]


def test_a_station_without_decisions_has_no_rates(desk: Desk, client: TestClient) -> None:
    (told,) = client.get("/api/v1/stations").json()
    assert (told["station"], told["escapes"], told["false_rejects"]) == (STATION, None, None)


def test_a_parts_life_has_its_decisions_but_not_what_others_said_while_it_is_open(desk: Desk) -> None:
    inspection = desk.put()
    desk.decide("anna", CRACK, desk.ruled(second_opinion_share=1.0))
    with desk.database.begin() as session:
        (for_ben,) = life(session, str(inspection), "ben")
        (for_anna,) = life(session, str(inspection), "anna")
        assert life(session, "nobody knows it", "anna") == []
    assert for_ben.review is not None and for_ben.review["labels"] == []
    assert for_anna.review is not None and for_anna.review["labels"][0]["note"] == "left edge"
    assert for_ben.views[0]["sha256"]
