"""The queue's API: what a page, or a generated client, can do; and every wrong way to ask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import counting
from orchestrator.image_routes import MASK_BYTES
from storage import records
from storage.events import ReviewReason, ReviewResolved, new_id
from storage.images import ImageStore, decode, encode
from storage.stream import EventLog
from tests.conftest import execute
from tests.facts import Plant, frame, picture, prediction
from tests.integration.described import Described
from tests.integration.served import Served, browser

PROBLEM = "application/problem+json"
CRACK = {"decision": "anomaly", "defects": ["crack"], "note": "<script>alert(1)</script>"}


def png(levels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", levels)[1].tobytes()


class Page:
    """What a page does."""

    def __init__(self, up: Served) -> None:
        self.up, self.client, self.store = up, browser(up), ImageStore(up.images)
        described = Described(self.client.get("/openapi.json").json())

        def check(answer: Any) -> None:
            answer.read()
            if answer.request.url.path.startswith("/api/") and answer.status_code not in (404, 405):
                described.check(answer)

        self.client.event_hooks = {"response": [check]}

    def put(self, shade: int = 7, map_level: float | None = None, **facts: Any) -> str:
        """A part under review, its image stored; with an anomaly map if there is a level."""
        data = picture(shade)
        stored = self.store.put(data, ".png")
        captured = self.up.plant.captured(self.up.plant.trigger(**facts), frame(data=data, sha256=stored.sha256))
        seen = prediction(captured.frames[0], 0.5)
        if map_level is not None:
            levels = np.zeros((12, 16), np.uint16)
            levels[3:9, 4:12] = round(65535 * map_level)
            seen = seen.model_copy(update={"map_sha256": self.store.put(png(levels), ".png").sha256})
        event = self.up.plant.decided(captured, 0.5, predictions=(seen,), review_reason=ReviewReason.UNCERTAIN)
        with self.up.database.begin() as session:
            records.record_verdicts(session, [event])
        return str(event.trigger.inspection_id)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(f"/api/v1/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    def claim(self, **wish: Any) -> dict[str, Any]:
        (lease,) = self.post("reviews/claim", wish)["reviews"]
        found: dict[str, Any] = lease
        return found


@pytest.fixture
def page(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[Page]:
    page = Page(Served(plant, log, tmp_path))
    with page.client:
        yield page


def test_a_part_is_claimed_decided_taken_back_and_decided_anew(page: Page) -> None:
    page.put(part_id="P-1")
    lease = page.claim()
    path = f"reviews/{lease['review_id']}"
    assert page.post("reviews/claim", {}) == {"reviews": []}
    assert page.post(f"{path}/heartbeat", {"token": lease["token"]})["lease_until"] > lease["lease_until"]
    done = page.post(f"{path}/resolve", {"token": lease["token"], "resolution": CRACK})
    assert done["final"] and done["opinion"] == 1
    again = page.post(f"{path}/undo")
    page.post(f"{path}/resolve", {"token": again["token"], "resolution": {"decision": "cannot_tell"}})
    shown = page.get(path)
    assert shown["state"] == "resolved" and shown["part_id"] == "P-1"
    assert [label["decision"] for label in shown["labels"]] == ["anomaly", "withdrawn", "cannot_tell"]
    assert shown["labels"][0]["note"] == CRACK["note"], "kept as it was written; pages show it as text"
    assert shown["labels"][2]["id"] == shown["label_id"]
    assert shown["views"][0]["sha256"] == hashlib.sha256(picture(7)).hexdigest()


def test_a_late_decision_is_answered_409_with_both_versions(page: Page) -> None:
    page.put()
    lease = page.claim()
    execute(page.up.database.url, "UPDATE reviews SET free_at = now() - interval '1 s'")
    newer = page.claim()
    path = f"/api/v1/reviews/{lease['review_id']}/resolve"
    answer = page.client.post(path, json={"token": lease["token"], "resolution": CRACK})
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert answer.json()["given"] == lease["token"]
    assert answer.json()["current"]["token"] == newer["token"]
    assert answer.json()["current"]["state"] == "open" and answer.json()["current"]["holder"]


def test_a_group_is_decided_together_or_not_at_all(page: Page) -> None:
    for shade in range(3):
        page.put(shade)
    leases = [page.claim() for _ in range(3)]
    held = [{"review_id": one["review_id"], "token": one["token"]} for one in leases]
    wrong = [*held[:2], {**held[2], "token": 77}]
    page.post("reviews/resolve", {"held": wrong, "resolution": CRACK}, 409)
    assert page.get("queue")["open"] == 3
    done = page.post("reviews/resolve", {"held": held, "resolution": CRACK})
    assert [one["review_id"] for one in done] == [one["review_id"] for one in held]
    assert page.get("queue")["open"] == 0
    told: Any = page.up.log.client.xlen(page.up.log.key(ReviewResolved))
    assert told == 3


def test_each_part_of_a_group_has_its_own_regions(page: Page) -> None:
    for shade in range(2):
        page.put(shade)
    first, second = (page.claim() for _ in range(2))
    box = {"camera": "top", "kind": "box", "points": [[1, 2], [30, 40]], "defect": "crack", "mask_sha256": None}
    held = [{"review_id": one["review_id"], "token": one["token"]} for one in (first, second)]
    held[0]["regions"] = [box]
    page.post("reviews/resolve", {"held": held, "resolution": {"decision": "normal"}}, 422)
    page.post("reviews/resolve", {"held": held, "resolution": CRACK})
    found = [page.get(f"reviews/{one['review_id']}")["labels"] for one in (first, second)]
    assert [[label["regions"] for label in labels] for labels in found] == [[[box]], [[]]]


def test_a_review_is_given_back_skipped_and_had_by_hand(page: Page) -> None:
    page.put()
    lease = page.claim()
    path = f"reviews/{lease['review_id']}"
    page.post(f"{path}/release", {"token": lease["token"]}, 204)
    lease = page.claim()
    page.post(f"{path}/skip", {"token": lease["token"]}, 204)
    assert page.post("reviews/claim", {})["reviews"] == []
    lease = page.post(f"{path}/claim")
    page.post(f"{path}/resolve", {"token": lease["token"], "resolution": {"decision": "normal"}})
    page.post(f"{path}/claim", None, 409)
    assert page.post("reviews", {"inspection_id": lease["inspection_id"]}, 201)["review_id"] == lease["review_id"]
    assert page.claim()["round"] == 2
    page.post("reviews", {"inspection_id": str(new_id())}, 404)


def test_what_a_person_wants_to_be_asked_is_remembered(page: Page) -> None:
    with page.up.database.begin() as session:
        records.register_station(session, "saw", "line-1")
    page.put(1)
    page.put(2, station="saw", product="plate")
    wish = {"station": "saw", "product": None, "policy": "oldest"}
    assert page.client.put("/api/v1/queue/filter", json=wish).json() == wish == page.get("queue/filter")
    assert page.claim()["station"] == "saw"
    assert page.post("reviews/claim", {})["reviews"] == []
    assert page.claim(station=None)["station"] == "press", "said with the claim, it holds for that claim"


def test_reviews_are_listed_newest_first_and_filtered(page: Page) -> None:
    ids = [page.put(shade, product="ab"[shade % 2]) for shade in range(4)]
    listed = page.get("reviews?state=open&limit=3")
    assert [one["inspection_id"] for one in listed] == ids[:0:-1]
    rest = page.get(f"reviews?before={listed[-1]['review_id']}")
    assert [one["inspection_id"] for one in rest] == ids[:1]
    assert len(page.get("reviews?product=a")) == 2 and page.get("reviews?state=resolved") == []


def test_where_the_model_sees_the_defect_can_be_taken_as_the_region(page: Page) -> None:
    page.put(map_level=0.9)
    lease = page.claim()
    path = f"reviews/{lease['review_id']}"
    (region,) = page.get(f"{path}/proposal")
    xs, ys = zip(*region["points"], strict=True)
    assert 14 <= min(xs) and max(xs) <= 49 and 10 <= min(ys) and max(ys) <= 37
    decided = {"decision": "anomaly", "defects": ["crack"], "regions": [region]}
    page.post(f"{path}/resolve", {"token": lease["token"], "resolution": decided})
    assert page.get(path)["labels"][0]["regions"] == [region]


def test_a_mask_is_stored_to_the_pixel_and_named_by_a_region(page: Page) -> None:
    page.put()
    drawn = np.zeros((48, 64), np.uint8)
    drawn[5:9, 11:30] = 255
    stored = page.client.post("/api/v1/masks", content=png(drawn), headers={"content-type": "image/png"})
    assert stored.status_code == 201, stored.text
    lease = page.claim()
    region = {"camera": "top", "kind": "mask", "mask_sha256": stored.json()["sha256"], "defect": "scratch"}
    resolution = {"decision": "anomaly", "regions": [region]}
    page.post(f"reviews/{lease['review_id']}/resolve", {"token": lease["token"], "resolution": resolution})
    back = page.client.get(f"/api/v1/images/{stored.json()['sha256']}").content
    assert (decode(back) == drawn).all()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no image",
        picture(255)[:60],
        encode(np.full((48, 64), 255, np.uint8), "jpeg"),
        png(np.full((48, 64, 3), 255, np.uint8)),
        png(np.full((48, 64), 128, np.uint8)),
    ],
    ids=["nothing", "text", "cut", "jpeg", "colour", "grey values"],
)
def test_what_is_no_mask_is_refused(page: Page, body: bytes) -> None:
    answer = page.client.post("/api/v1/masks", content=body, headers={"content-type": "image/png"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


def test_a_huge_mask_is_refused_before_it_is_read(page: Page) -> None:
    sent = []

    def chunks() -> Iterator[bytes]:
        for _ in range(1024):
            sent.append(1)
            yield b" " * (1 << 20)

    answer = page.client.post("/api/v1/masks", content=chunks(), headers={"content-type": "image/png"})
    assert answer.status_code == 413 and MASK_BYTES < 1 << 30


def test_images_are_kept_by_the_browser_for_ever(page: Page) -> None:
    page.put(shade=200, map_level=1.0)
    view = page.get(f"reviews/{page.claim()['review_id']}")["views"][0]
    for path, media_type in (
        (f"images/{view['sha256']}", "image/png"),
        (f"images/{view['sha256']}/thumbnail?side=32", "image/jpeg"),
        (f"images/{view['map_sha256']}/heatmap", "image/png"),
    ):
        answer = page.client.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), path
        assert "immutable" in answer.headers["cache-control"]
        seen = page.client.get(f"/api/v1/{path}", headers={"if-none-match": answer.headers["etag"]})
        assert (seen.status_code, seen.content) == (304, b"")
        assert max(decode(answer.content).shape[:2]) == (32 if "side=32" in path else 16 if "heat" in path else 64)


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc%2fpasswd", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "%00", "%2e%2e", "*" * 64],
)
def test_a_path_trick_in_an_images_address_leads_nowhere(page: Page, name: str) -> None:
    for path in (f"/api/v1/images/{name}", f"/api/v1/images/{name}/thumbnail", f"/api/v1/images/{name}/heatmap"):
        answer = page.client.get(path)
        assert answer.status_code in (404, 422) and answer.headers["content-type"] == PROBLEM
    assert page.get("images/" + "a" * 64, 404)["status"] == 404


def test_the_defect_book_grows_by_versions_and_labels_name_what_is_in_it(page: Page) -> None:
    assert [one["name"] for one in page.get("defects")] == ["scratch", "contamination", "crack"]
    page.put()
    lease = page.claim()
    path = f"reviews/{lease['review_id']}/resolve"
    rust = {"token": lease["token"], "resolution": {"decision": "anomaly", "defects": ["rust"]}}
    page.post(path, rust, 422)
    example = page.store.put(picture(9), ".png").sha256
    entry = {"definition": "Brown, and it spreads.", "severity": "major", "examples": [example]}
    assert page.client.put("/api/v1/defects/rust", json=entry).json()["version"] == 1
    assert page.client.put("/api/v1/defects/rust", json=entry | {"examples": ["0" * 64]}).status_code == 404
    page.post(path, rust)
    assert page.client.put("/api/v1/defects/rust", json=entry | {"retired": True}).json()["version"] == 2
    assert [one["retired"] for one in page.get("defects")] == [False, False, False, True]


def test_too_old_a_review_is_told_in_the_status_and_the_metrics(page: Page) -> None:
    page.put(1)
    page.put(2)
    execute(
        page.up.database.url,
        "UPDATE reviews SET opened_at = now() - interval '9 hours' WHERE id = (SELECT id FROM reviews LIMIT 1)",
    )
    assert page.get("status")["queue"]["overdue"] == page.get("queue")["overdue"] == 1
    families = {one.name: one for one in text_string_to_metric_families(page.client.get("/metrics").text)}
    assert families["adline_queue_overdue"].samples[0].value == 1
    assert families["adline_queue_oldest_seconds"].samples[0].value > 32_000


def test_many_open_reviews_are_not_counted_again_for_each_who_asks(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.put(1)
    assert page.get("queue")["open"] == 1
    page.put(2)
    assert page.get("queue")["open"] == 2, "a few are counted each time"
    monkeypatch.setattr(counting, "MANY", 2)
    monkeypatch.setattr(counting, "KEPT_SECONDS", 3600.0)
    page.put(3)
    assert page.get("queue")["open"] == 3
    page.put(4)
    assert page.get("queue")["open"] == page.get("status")["queue"]["open"] == 3, "good for some seconds"


def test_what_happens_is_told_while_it_happens(page: Page) -> None:
    page.put()
    lease = page.claim()
    page.up.log.publish()
    page.post(f"reviews/{lease['review_id']}/resolve", {"token": lease["token"], "resolution": CRACK})
    answer = page.client.get("/api/v1/events?seconds=0.1")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("retry: 1000")


@pytest.mark.parametrize(
    "resolution",
    [
        {},
        {"decision": "withdrawn"},
        {"decision": "normal", "defects": ["crack"]},
        {"decision": "anomaly", "defects": ["crack", "crack"]},
        {"decision": "anomaly", "regions": [{"camera": "top", "kind": "box", "points": [[0, 0], [0, 5]]}]},
        {"decision": "anomaly", "regions": [{"camera": "top", "kind": "polygon", "points": [[0, 0], [1, 5]]}]},
        {"decision": "anomaly", "regions": [{"camera": "top", "kind": "mask", "points": [[0, 0], [1, 5], [2, 2]]}]},
        {"decision": "anomaly", "regions": [{"camera": "top", "kind": "box", "points": [[0, 0], ["NaN", 5]]}]},
        {"decision": "anomaly", "regions": [{"camera": "top", "kind": "box", "points": [[-1, 0], [3, 5]]}]},
        {"decision": "normal", "note": "a\u0000b"},
        {"decision": "normal", "note": "x" * 4001},
    ],
)
def test_a_decision_that_is_not_as_described_is_refused_and_nothing_is_recorded(
    page: Page, resolution: dict[str, Any]
) -> None:
    page.put()
    lease = page.claim()
    body = json.dumps({"token": lease["token"], "resolution": resolution}).replace('"NaN"', "NaN")
    path = f"/api/v1/reviews/{lease['review_id']}/resolve"
    answer = page.client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert page.get(f"reviews/{lease['review_id']}")["labels"] == []


def test_what_a_person_may_filter_by_is_what_is_open(page: Page) -> None:
    for shade, product in enumerate(("plate", "bolt", "bolt", None)):
        page.put(shade, product=product)
    lease = page.claim(product="plate")
    page.post(f"reviews/{lease['review_id']}/resolve", {"token": lease["token"], "resolution": {"decision": "normal"}})
    found = [(one["station"], one["product"], one["open"]) for one in page.get("queue/choices")]
    assert found == [("press", "bolt", 2), ("press", None, 1)]


def test_every_image_can_be_shown_by_a_browser_pixel_by_pixel(page: Page) -> None:
    deep = np.linspace(0, 4095, 48 * 64).reshape(48, 64).astype(np.uint16)
    colour = np.dstack([np.full((48, 64), shade, np.uint8) for shade in (10, 100, 200)])
    for suffix, pixels, shown in (
        (".tif", deep, deep >> 4),
        (".png", deep, deep >> 4),
        (".tif", colour, colour),
        (".bmp", colour, colour),
        (".png", colour, colour),
    ):
        data = cv2.imencode(suffix, pixels)[1].tobytes()
        stored = page.store.put(data, suffix)
        answer = page.client.get(f"/api/v1/images/{stored.sha256}/rendition")
        assert answer.headers["content-type"] in ("image/png", "image/bmp"), suffix
        assert answer.headers["etag"] and (decode(answer.content) == shown).all(), suffix
    broken = page.store.put(b"II*\0 and nothing else", ".bin")
    page.get(f"images/{broken.sha256}/rendition", 422)
    thumbnail = page.client.get(f"/api/v1/images/{page.store.put(png(deep), '.png').sha256}/thumbnail")
    assert decode(thumbnail.content).max() > 240, "12 bit in 16 are not shown black"
