"""The operator's pages of the running demo line, in a real Chromium."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
import pytest

from orchestrator.bench_page import WATCH, decide_all, is_here
from orchestrator.chromium import Page, chromium
from tests.acceptance.command import Adline, wait_until

pytestmark = pytest.mark.usefixtures("alone")

REVIEWS = 15
SHOWN = "document.querySelector('.desk')?.dataset.review"
CARD = "window.adlineDesk.card"


@pytest.fixture(scope="module")
def adline(tmp_path_factory: pytest.TempPathFactory, alone: None) -> Iterator[Adline]:
    with Adline(tmp_path_factory.mktemp("pages"), "start", "--json") as adline:
        adline.wait_ready()
        wait_until(lambda: adline.get("/queue")[0] == 200, "the pages are served")
        wait_until(lambda: told(adline, "/api/v1/queue")["open"] > 2 * REVIEWS, "there are reviews to decide")
        yield adline


@pytest.fixture
def page(adline: Adline) -> Iterator[Page]:
    with chromium() as page:
        page.size(1280, 800)
        page.open(f"http://127.0.0.1:{adline.port}/queue")
        page.wait(SHOWN)
        yield page


def told(adline: Adline, path: str) -> Any:
    status, body = adline.get(path)
    assert status == 200, body
    return json.loads(body)


def settled(page: Page) -> None:
    page.wait("document.querySelector('#bar-status').dataset.waiting === '0'")


def labels(adline: Adline, review: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(adline, f"/api/v1/reviews/{review}")["labels"]
    return found


def test_the_keyboard_alone_decides_reviews(adline: Adline, page: Page) -> None:
    page.run(WATCH)
    report = decide_all(page, REVIEWS, 0.0, random.Random(0), lambda words: None)
    print(report)
    decided = told(adline, "/api/v1/reviews?state=resolved&limit=1000")
    assert report["decided"] == REVIEWS == len(decided)
    proposals = report["proposals"]
    assert proposals["stored"] == proposals["taken"] == proposals["offered"] <= proposals["asked"] > 0
    assert all(labels(adline, one["review_id"])[0]["decided_by"] == "demo" for one in decided)


def test_nothing_leaves_this_machine_and_nothing_goes_wrong_in_the_page(page: Page) -> None:
    page.press("?")
    page.press("?")
    page.press("h")
    assert len(page.requests) > 10
    assert [url for url in page.requests if not is_here(url)] == []
    assert page.complaints == []


def test_all_there_is_to_decide_with_is_seen_without_scrolling(page: Page) -> None:
    scrolls = "document.documentElement.scrollHeight > innerHeight || document.documentElement.scrollWidth > innerWidth"
    assert not page.run(scrolls)
    assert page.run("document.querySelector('.decide').getBoundingClientRect().bottom <= innerHeight")
    assert page.run("document.querySelector('canvas').getBoundingClientRect().height > innerHeight / 2")


def test_what_was_decided_can_be_taken_back(adline: Adline, page: Page) -> None:
    review = page.run(SHOWN)
    page.press("n")
    settled(page)
    page.press("u")
    page.wait(f"{SHOWN} === '{review}'")
    page.press("o")
    settled(page)
    history = [(label["decision"]) for label in labels(adline, review)]
    assert history == ["anomaly", "withdrawn", "normal"]


def test_a_mask_is_drawn_corrected_and_stored_to_the_pixel(adline: Adline, page: Page) -> None:
    review = page.run(SHOWN)
    page.press("e")
    page.drag(*(on_screen(page, x, 100.5) for x in (60.5, 80.5, 120.5)))
    page.press("x")
    page.drag(*(on_screen(page, 100.5, y) for y in (80.5, 100.5, 120.5)))
    page.press("1")
    drawn = np.array(page.run(f"[...{CARD}.drawing.mask.data]"), np.uint8)
    page.press("n")
    settled(page)
    (label,) = labels(adline, review)
    (region,) = label["regions"]
    assert (region["kind"], label["defects"]) == ("mask", ["scratch"])
    stored = stored_image(adline, region["mask_sha256"])
    view = told(adline, f"/api/v1/reviews/{review}")["views"][0]
    assert stored.shape == (view["height"], view["width"]) and set(np.unique(stored)) == {0, 255}
    assert np.array_equal(stored.ravel(), drawn)
    assert stored[100, 70] == stored[100, 115] == 255 and stored[100, 100] == 0, "drawn, and taken out again"


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the frame is on the screen."""
    script = f"""(() => {{ const box = document.querySelector("canvas").getBoundingClientRect();
        const view = window.adlinePicture.view; const at = view.toScreen({{ x: {x}, y: {y} }});
        return [at.x + box.left, at.y + box.top]; }})()"""
    found: list[float] = page.run(script)
    return found[0], found[1]


def stored_image(adline: Adline, sha256: str) -> np.ndarray[Any, Any]:
    (file,) = (adline.folder / ".adline" / "images" / "sha256").rglob(f"{sha256}.png")
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def test_a_killed_pages_worker_loses_no_decision_and_the_page_goes_on_where_it_was(adline: Adline, page: Page) -> None:
    worker = pages_worker(adline)
    page.run("window.isTheSamePage = true")
    page.press("e")
    page.drag(on_screen(page, 50.5, 50.5), on_screen(page, 60.5, 50.5))
    first = page.run(SHOWN)
    psutil.Process(worker).kill()
    page.press("n")
    page.wait(f"{SHOWN} && {SHOWN} !== '{first}'")
    second = page.run(SHOWN)
    page.press("3")
    page.wait(f"window.isTheSamePage !== true && {SHOWN} === '{second}' && {CARD}.chosen.has('crack')")
    wait_until(lambda: pages_worker(adline) != worker, "another worker serves the pages")
    page.press("n")
    settled(page)
    assert labels(adline, first)[0]["regions"][0]["kind"] == "mask"
    assert labels(adline, second)[0]["defects"] == ["crack"]


def pages_worker(adline: Adline) -> int:
    """Its process; waits until it works."""

    def found() -> dict[str, Any]:
        (one,) = (worker for worker in told(adline, "/api/v1/status")["workers"] if worker["name"] == "pages")
        return dict(one)

    wait_until(lambda: found()["state"] == "running", "the pages' worker works")
    return int(found()["pid"])


def test_a_note_is_shown_as_it_was_typed_whatever_is_in_it(adline: Adline, page: Page) -> None:
    note = "<img src=x onerror=document.title='broken'>"
    review = page.run(SHOWN)
    inspection = told(adline, f"/api/v1/reviews/{review}")["inspection_id"]
    page.press("t")
    page.wait("document.activeElement.name === 'note'")
    page.call("Input.insertText", text=note)
    page.press("Enter")
    page.press("n")
    settled(page)
    page.open(f"http://127.0.0.1:{adline.port}/part/{inspection}")
    page.wait(f"document.body.innerText.includes({json.dumps(note)})")
    assert page.run("document.title") != "broken"
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0


def test_the_line_is_shown_on_a_phone_too(adline: Adline, page: Page) -> None:
    page.size(390, 844)
    page.open(f"http://127.0.0.1:{adline.port}/line")
    page.wait("document.querySelectorAll('.workers li').length >= 4")
    page.wait("document.querySelectorAll('.stations article').length === 1")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run("document.querySelectorAll('.page-line :is(button, input)').length") == 0, (
        "nothing can be changed here"
    )
    assert page.complaints == []


def test_the_models_page_shows_who_judges_and_says_why_something_cannot_be_done(adline: Adline, page: Page) -> None:
    page.open(f"http://127.0.0.1:{adline.port}/models")
    page.wait("document.querySelectorAll('.versions li.champion, .history li.champion button').length === 2")
    (version,) = told(adline, "/api/v1/models")
    assert page.run("document.querySelector('.versions li.champion b').textContent") == version["id"]
    assert page.run("document.querySelectorAll('.versions button').length") == 0, "the champion need not be deployed"
    page.run("window.prompt = () => 'escapes'; document.querySelector('.history li.champion button').click()")
    page.wait("document.querySelector('.models-said').textContent.includes('no other champion')")
    assert [one["reason"] for one in told(adline, "/api/v1/deployments")] == [
        told(adline, f"/api/v1/models/{version['id']}")["deployments"][0]["reason"]
    ]


def test_both_languages_and_both_themes_are_remembered(page: Page) -> None:
    page.run("document.cookie = 'adline_language=ko; path=/'; document.cookie = 'adline_theme=dark; path=/'")
    page.call("Page.reload")
    page.wait("document.body.classList.contains('body--dark') && document.body.innerText.includes('정상')")


def test_the_commands_list_claim_decide_and_carry_labels_out_and_in_again(adline: Adline, tmp_path: Path) -> None:
    environ = {"ADLINE_HOME": str(adline.folder / ".adline")}

    def queue(*words: str, code: int = 0) -> Any:
        with Adline(tmp_path, "queue", *words, "--json", environ=environ) as command:
            assert command.finish() == code, command.said()
            return json.loads(command.out.read_text()) if code == 0 or words[0] == "import" else command.said()

    (listed,) = queue("list", "--limit", "1")
    assert listed["state"] == "open"
    lease = queue("claim")  # the next by policy: a page that is open elsewhere may claim the one just listed
    review, token = lease["review_id"], lease["token"]
    assert "token 0 is old" in queue("resolve", review, "normal", "--token", "0", code=1)
    done = queue("resolve", review, "anomaly", "--token", str(token), "--defect", "crack", "--note", "left edge")
    (label,) = labels(adline, review)
    assert (label["id"], label["decided_by"], label["note"]) == (done["label_id"], "console", "left edge")
    for format in ("csv", "coco", "labelstudio"):
        out = str(tmp_path / format)
        assert queue("export", out, "--format", format)["images"] >= 1
        again = queue("import", out, "--format", format)
        assert (again["recorded"], again["refused"]) == (0, []) and again["unchanged"] >= 1, format
    (tmp_path / "labels.csv").write_text(f"image_id,label,description\n{'0' * 64},normal,\n")
    (refused,) = queue("import", str(tmp_path / "labels.csv"), code=1)["refused"]
    assert refused["why"] == "no inspection on record saw this image"
    assert queue("agreement") == {"overall": None, "pairs": []}


def test_who_has_not_signed_in_sees_no_page(adline: Adline) -> None:
    forged = {"X-Forwarded-For": "192.0.2.1", "X-Adline-Person": json.dumps({"name": "mallory", "role": "admin"})}
    url = f"http://127.0.0.1:{adline.port}/queue"
    assert httpx.get(url).status_code == 200, "the demo line signs in whoever is at this machine"
    assert httpx.get(url, headers=forged).status_code == 401
