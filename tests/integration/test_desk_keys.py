"""The queue page's keys in a real Chromium: what each does, and what none may do."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from orchestrator.postgres import EmbeddedPostgres
from orchestrator.valkey import EmbeddedValkey
from tests.integration.desk_plant import CARD, HEIGHT, NOTICE, SHOWN, WIDTH, Plant, emptied, serving


@pytest.fixture(scope="module")
def served(
    postgres_server: EmbeddedPostgres,
    valkey_server: EmbeddedValkey,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("desk")
    with serving(postgres_server, valkey_server, template_database, folder, "desk_keys") as plant:
        yield plant


@pytest.fixture
def plant(served: Plant) -> Iterator[Plant]:
    with emptied(served) as plant:
        yield plant


def test_a_key_that_is_held_down_decides_the_one_part_that_was_seen(plant: Plant) -> None:
    reviews = [plant.put() for _ in range(4)]
    page = plant.open()
    page.wait(f"{SHOWN} && {CARD}.shownAt && window.adlineDesk.cards.length === 3")
    first = page.run(SHOWN)
    page.hold("o", 12)
    plant.settled()
    assert [one for one in reviews if plant.labels(one)] == [first]
    page.wait(f"{CARD}?.shownAt")
    page.hold("1", 2)
    assert page.run(f"[...{CARD}.chosen]") == ["scratch"]
    second = page.run(SHOWN)
    page.hold("s", 5)
    page.wait(f"{SHOWN} !== '{second}'")
    assert page.run("window.adlineDesk.cards.length") >= 1, "one was skipped, not all"
    page.run("document.querySelector('.anomaly').focus()")
    page.hold("Enter", 5)
    plant.settled()
    assert len([one for one in reviews if plant.labels(one)]) == 2, "nor does a button that is held down"


def test_the_keys_that_move_and_zoom_may_be_held_down(plant: Plant) -> None:
    page = plant.show(plant.put())
    before, scale = page.run("window.adlinePicture.view.x"), page.run("window.adlinePicture.view.scale")
    page.hold("ArrowLeft", 3)
    assert page.run("window.adlinePicture.view.x") == before + 4 * 60
    page.hold("+", 2)
    assert page.run("window.adlinePicture.view.scale") == pytest.approx(1.5**3 * scale)


def test_a_note_counts_without_enter_whether_the_decision_is_a_click_or_a_key(plant: Plant) -> None:
    page = plant.show(clicked := plant.put())
    page.press("t")
    page.wait("document.activeElement.name === 'note'")
    page.call("Input.insertText", text="burr on the left edge")
    page.click(".anomaly")
    plant.settled()
    assert [one["note"] for one in plant.labels(clicked)] == ["burr on the left edge"]
    page = plant.show(typed := plant.put())
    page.press("t")
    page.wait("document.activeElement.name === 'note'")
    page.call("Input.insertText", text="dust")
    page.click("canvas")
    page.press("o")
    plant.settled()
    assert [(one["decision"], one["note"]) for one in plant.labels(typed)] == [("normal", "dust")]


def test_escape_takes_back_what_was_typed_into_the_note(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    for text, key in (("kept", "Enter"), (" not kept", "Escape")):
        page.press("t")
        page.wait("document.activeElement.name === 'note'")
        page.run("document.activeElement.setSelectionRange(99, 99)")
        page.call("Input.insertText", text=text)
        page.press(key)
    page.press("o")
    plant.settled()
    assert plant.labels(review)[0]["note"] == "kept"


def test_m_takes_the_region_that_the_model_proposes_and_it_is_stored(plant: Plant) -> None:
    page = plant.show(review := plant.put(map_level=0.9))
    assert not page.run("document.querySelector('[data-key=m]').disabled")
    proposed = page.run(f"{CARD}.view.proposal.data.filter(Boolean).length")
    page.press("3")
    page.press("m")
    page.press("n")
    plant.settled()
    (region,) = plant.labels(review)[0]["regions"]
    assert (region["kind"], region["defect"]) == ("mask", "crack")
    stored = cv2.imdecode(np.frombuffer(plant.store.get(region["mask_sha256"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored is not None and stored.shape == (HEIGHT, WIDTH)
    assert np.count_nonzero(stored) == proposed > 300 and stored[HEIGHT // 2, WIDTH // 2] == 255


def test_m_says_so_when_the_model_proposes_nothing(plant: Plant) -> None:
    page = plant.show(plant.put())
    assert page.run("document.querySelector('[data-key=m]').disabled")
    page.press("m")
    page.wait(f"!{NOTICE}.hidden && {NOTICE}.textContent.includes('proposes no region')")


def test_twelve_classes_are_all_seen_and_each_is_chosen_by_the_keyboard_or_by_a_click(plant: Plant) -> None:
    names = [f"kind of defect {number}" for number in range(4, 13)]
    entry = {"definition": "for this test", "severity": "minor", "examples": []}
    for name in names:
        assert plant.client.put(f"/api/v1/defects/{name}", json=entry).status_code == 200
    page = plant.show(review := plant.put())
    page.wait("document.querySelectorAll('.classes button').length === 12")
    inside = """[...document.querySelectorAll('.classes button')].every((one) => {
        const box = one.getBoundingClientRect();
        const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return one.contains(there) && box.width > 20 && box.right <= innerWidth && box.bottom <= innerHeight; })"""
    assert page.run(inside)
    assert page.run("document.querySelector('canvas').getBoundingClientRect().height > innerHeight / 2")
    page.press("1")
    page.press("d")
    page.press("2")  # the eleventh
    page.press("d")
    page.press("9")
    page.click(".classes button:nth-child(12)")
    page.press("n")
    plant.settled()
    book = [one["name"] for one in plant.get("defects")]
    assert plant.labels(review)[0]["defects"] == [book[0], book[10], book[8], book[11]]
    for name in names:
        assert plant.client.put(f"/api/v1/defects/{name}", json=entry | {"retired": True}).status_code == 200


def test_a_defect_book_that_could_not_be_read_at_first_is_asked_for_again(plant: Plant) -> None:
    failing = """(() => { const real = window.fetch, failed = new Set();
        window.fetch = (url, ...rest) => {
          const name = ['/defects', '/queue/filter'].find((one) => `${url}`.endsWith(one));
          if (!name || failed.has(name)) return real(url, ...rest);
          failed.add(name);
          return Promise.resolve(new Response('{"detail": "away"}', { status: 503 })); }; })()"""
    script = plant.page.call("Page.addScriptToEvaluateOnNewDocument", source=failing)["identifier"]
    try:
        page = plant.show(review := plant.put())
        page.wait(f"!{NOTICE}.hidden && {NOTICE}.textContent.includes('does not answer')")
        page.wait("document.querySelectorAll('.classes button').length >= 3")
    finally:
        plant.page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    page.press("3")
    page.press("n")
    plant.settled()
    assert plant.labels(review)[0]["defects"] == ["crack"]


def test_enter_on_a_link_or_a_button_is_that_links_or_buttons(plant: Plant) -> None:
    page = plant.show(review := plant.put(part_id="P-8"))
    page.run("document.querySelector('.decide .normal').focus()")
    page.press("Enter")
    plant.settled()
    assert [one["decision"] for one in plant.labels(review)] == ["normal"]
    page = plant.show(plant.put(part_id="P-9"))
    page.run("document.querySelector('.facts a').focus()")
    page.press("Enter")
    page.wait("location.pathname.startsWith('/part/')")


def test_the_help_is_scrolled_by_the_arrows_and_closed_by_shift_and_question_mark(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    page.run("document.querySelector('.help').style.maxHeight = '120px'")
    page.press("Shift")
    page.press("?")
    assert page.run("document.querySelector('.help').open")
    page.hold("ArrowDown", 2)
    page.wait("document.querySelector('.help').scrollTop > 0")
    assert page.run("document.querySelector('.help').open")
    page.press("Shift")
    page.press("?")
    assert not page.run("document.querySelector('.help').open")
    page.press("?")
    page.press("o")
    assert not page.run("document.querySelector('.help').open") and page.run(SHOWN) == review, "and decides nothing"


@pytest.mark.parametrize("key", ["ㅐ", "Process"])
def test_a_hangul_keyboard_decides_as_well(plant: Plant, key: str) -> None:
    page = plant.show(review := plant.put())
    page.press(key, code="KeyO")
    plant.settled()
    assert [one["decision"] for one in plant.labels(review)] == ["normal"]


def test_how_similar_parts_were_decided_is_read_in_full(plant: Plant) -> None:
    decided = plant.put(look=(1.0, 5.0))
    page = plant.show(decided)
    page.press("1")
    page.press("2")
    page.press("n")
    plant.settled()
    page = plant.show(plant.put(look=(1.0, 4.0)))
    page.wait("document.querySelectorAll('.similar li.anomaly').length >= 1")
    told = (
        "[...document.querySelectorAll('.similar li.anomaly span')].find((one) => one.textContent.includes('scratch'))"
    )
    assert page.run(f"{told}.textContent") == "scratch, contamination"
    fits = f"""(() => {{ const strip = document.querySelector('.similar').getBoundingClientRect();
        const box = {told}.getBoundingClientRect();
        return {told}.scrollWidth <= {told}.clientWidth && box.bottom <= strip.bottom; }})()"""
    assert page.run(fits)
