"""What an operator sees beside the image, how stations do, and a part's whole life."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from storage import records
from storage.estimates import Reviewed, stations
from storage.events import ReviewReason, Verdict
from storage.life import life
from storage.reviews import Policy
from storage.sight import golden
from storage.stream import EventLog
from tests.conftest import execute
from tests.facts import STATION, Plant, frame
from tests.integration.described import Described
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
    """A part that the model passed, or rejected; one that is sampled of the passed ones is REVIEW by that."""
    captured = desk.plant.captured(desk.plant.trigger(), frame(data=str(score).encode()))
    reason = ReviewReason.SAMPLED if sampled else None
    verdict = {"verdict": Verdict.REVIEW} if sampled and score < 0.4 else {}
    event = desk.plant.decided(captured, score, review_reason=reason, **verdict)
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


def test_escapes_are_counted_among_the_sampled_and_false_rejects_among_the_sampled_rejects(
    desk: Desk, client: TestClient
) -> None:
    for _ in range(3):
        passed(desk, 0.1, sampled=True)
    for resolution in (NORMAL, NORMAL, CRACK):
        desk.decide("anna", resolution)
    for resolution in (NORMAL, CRACK):
        desk.put(0.5)
        desk.decide("anna", resolution)
    (told,) = client.get("/api/v1/stations").json()
    assert told["false_rejects"] is None, "what people say of REVIEW parts tells nothing of the rejected ones"
    assert told["good_in_review"] == {"found": 1, "decided": 2, "share": 0.5}, "no interval of a pick that is no sample"
    passed(desk, 0.1)
    for sampled in (True, True, False, False):
        passed(desk, 0.8, sampled)
    for resolution in (NORMAL, CRACK):
        desk.decide("anna", resolution)
    desk.queue.look_again("eve", passed(desk, 0.8))
    desk.decide("anna", NORMAL)
    with desk.database.begin() as session:
        (counts,) = stations(session, timedelta(hours=1))
    assert counts.verdicts == {"OK": 1, "REVIEW": 5, "NG": 5, "ERROR": 0}
    assert (counts.passed, counts.all_passed) == (Reviewed(3, 2, 1), 4)
    assert (counts.rejected, counts.held_back) == (Reviewed(2, 1, 1), Reviewed(2, 1, 1)), "the pick by hand is none"
    (told,) = client.get("/api/v1/stations").json()
    assert told["escapes"]["found"] == 1 and told["escapes"]["low"] < 1 / 3 < told["escapes"]["high"]
    rejects = told["false_rejects"]
    assert (rejects["found"], rejects["decided"]) == (1, 2)
    assert rejects["share"] == pytest.approx(2.5 / (2.5 + 4 * 2 / 3 + 1)), "each sample stands for all its parts"
    assert 0 < rejects["low"] < rejects["share"] < rejects["high"] < 1


def test_labels_from_elsewhere_are_no_part_of_the_random_sample(desk: Desk) -> None:
    inspection = passed(desk, 0.1, sampled=True)
    desk.queue.import_label("eve", inspection, CRACK)
    with desk.database.begin() as session:
        (counts,) = stations(session, timedelta(hours=1))
    assert counts.passed == Reviewed(parts=1)


def test_a_station_without_decisions_has_no_rates(desk: Desk, client: TestClient) -> None:
    (told,) = client.get("/api/v1/stations").json()
    assert (told["station"], told["escapes"], told["false_rejects"]) == (STATION, None, None)
    assert told["good_in_review"] is None


@pytest.mark.parametrize("policy", Policy)
def test_in_every_order_sampled_parts_come_in_turn_whatever_they_scored(
    desk: Desk, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 sampled among 80 uncertain ones, half of all decided: of the sampled a fair share, drawn at random."""
    luck = Random(1)
    monkeypatch.setattr("storage.records.random", luck)
    monkeypatch.setattr("storage.reviews.random", luck)
    scores = {}
    for number in range(40):
        scores[passed(desk, (0.01, 0.39)[number % 2], sampled=True)] = number % 2
        for score in (0.41, 0.5 + number / 500):
            desk.put(score, look=(1.0, float(number), 0.0))
    decided = []
    for _ in range(60):
        lease = desk.claim(policy=policy)
        desk.queue.resolve("anna", lease.review_id, lease.token, NORMAL)
        decided += [scores[lease.inspection_id]] if lease.inspection_id in scores else []
    assert 5 <= len(decided) <= 30, "neither first nor last"
    assert 0.2 <= sum(decided) / len(decided) <= 0.8, "as many far from the threshold as near to it"


def test_a_sampled_part_is_not_decided_out_of_turn_for_its_looks(desk: Desk) -> None:
    desk.put(look=ALIKE)
    held = desk.claim()
    sampled = desk.put(look=ALIKE)
    execute(desk.database.url, f"UPDATE reviews SET reason = 'sampled' WHERE inspection_id = '{sampled}'")
    assert desk.queue.claim_alike("anna", held) == []


@pytest.mark.parametrize("by", ["part_id", "inspection"])
def test_the_api_tells_a_parts_whole_life_as_its_page_does(desk: Desk, client: TestClient, by: str) -> None:
    inspection = desk.put(part_id="P-7")
    region = {"camera": "top", "kind": "box", "points": [[1, 2], [10, 20]], "defect": "crack"}
    lease = desk.decide("anna", CRACK.model_validate(dict(CRACK) | {"regions": [region]}))
    desk.queue.look_again("eve", inspection)
    desk.decide("ben", NORMAL)
    name = "P-7" if by == "part_id" else str(inspection)
    answer = client.get(f"/api/v1/parts/{name}/life")
    assert answer.status_code == 200, answer.text
    Described(client.get("/openapi.json").json()).check(answer)
    (told,) = answer.json()
    assert (told["inspection_id"], told["review"]["review_id"]) == (str(inspection), str(lease.review_id))
    said = [(label["decided_by"], label["decision"], label["defects"]) for label in told["review"]["labels"]]
    assert said == [("anna", "anomaly", ["crack"]), ("ben", "normal", [])]
    assert told["review"]["labels"][0]["regions"][0]["points"] == [[1.0, 2.0], [10.0, 20.0]]
    with desk.database.begin() as session:
        (on_page,) = life(session, name, "demo")
    assert [view["sha256"] for view in told["views"]] == [view["sha256"] for view in on_page.views]
    assert on_page.review is not None
    assert [label["id"] for label in told["review"]["labels"]] == [str(one["id"]) for one in on_page.review["labels"]]
    assert client.get("/api/v1/parts/nobody/life").status_code == 404


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
