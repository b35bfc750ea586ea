"""The queue page in a real Chromium, on a served line whose parts and leases the test decides."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from orchestrator.postgres import EmbeddedPostgres
from orchestrator.valkey import EmbeddedValkey
from storage import records
from storage.people_rows import Role
from tests.acceptance.command import wait_until
from tests.integration.desk_plant import CARD, HEIGHT, SHOWN, WIDTH, Plant, emptied, serving
from tests.integration.gate_report import report_on_record
from tests.integration.staff import NAMES, showing


@pytest.fixture(scope="module")
def served(
    postgres_server: EmbeddedPostgres,
    valkey_server: EmbeddedValkey,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("desk")
    with serving(postgres_server, valkey_server, template_database, folder, "desk_page") as plant:
        yield plant


@pytest.fixture
def plant(served: Plant) -> Iterator[Plant]:
    with emptied(served) as plant:
        yield plant


def test_parts_that_look_alike_are_decided_together_but_for_those_that_are_left_out(plant: Plant) -> None:
    first, second, third = (plant.put(look=(1.0, shift / 1000, 0.0)) for shift in range(3))
    page = plant.show(plant.first(first))
    page.wait("window.adlineDesk.cards.length === 3")  # claimed ahead
    assert "(2)" in page.run("document.querySelector('.decide [data-key=g]').innerText"), "the group is offered"
    assert "2 open parts look like this one" in page.run("document.querySelector('.similar h2').innerText")
    page.press("g")
    page.wait(f"{CARD}.group.length === 2 && document.querySelectorAll('.similar li.chosen').length === 2")
    alike = page.run(f"{CARD}.group.map((one) => one.lease.review_id)")
    assert set(alike) == {second, third}
    assert page.run("window.adlineDesk.cards.length") == 1, "what was claimed ahead is in the group and not shown again"
    left_out = alike[-1]
    page.press("Tab")
    page.press("Enter")
    page.wait("document.querySelectorAll('.similar li.chosen').length === 1")
    page.press("3")
    page.press("n")
    plant.settled()
    for review in (first, *alike[:-1]):
        assert [(one["decision"], one["defects"]) for one in plant.labels(review)] == [("anomaly", ["crack"])]
    assert plant.labels(left_out) == []
    page.wait(f"{SHOWN} === '{left_out}'")
    assert "(" not in page.run("document.querySelector('.decide [data-key=g]').innerText"), "no other one is left"


def test_what_was_drawn_on_the_shown_part_is_recorded_for_it_when_its_group_is_decided(plant: Plant) -> None:
    first, second = (plant.put(look=(0.0, 1.0, shift / 1000)) for shift in range(2))
    page = plant.show(plant.first(first))
    page.press("b")
    page.drag(plant.on_screen(5, 6), plant.on_screen(25, 26))
    page.press("e")
    page.drag(plant.on_screen(40.5, 30.5), plant.on_screen(50.5, 30.5))
    page.press("g")
    page.wait(f"{CARD}.group.length === 1")
    page.press("n")
    plant.settled()
    (mine,), (others,) = plant.labels(first), plant.labels(second)
    assert (mine["decision"], others["decision"]) == ("anomaly", "anomaly")
    assert [region["kind"] for region in mine["regions"]] == ["box", "mask"] and others["regions"] == []


def test_skipping_a_group_gives_all_of_it_back_and_taken_apart_it_is_decided_part_by_part(plant: Plant) -> None:
    reviews = {plant.put(look=(shift / 1000, 0.0, 1.0)) for shift in range(3)}
    page = plant.open()
    page.wait(SHOWN)
    page.press("g")
    page.wait(f"{CARD}.group.length === 2")
    page.press("g")
    page.wait(f"{CARD}.group.length === 0 && window.adlineDesk.cards.length === 3")
    page.press("g")
    page.wait(f"{CARD}.group.length === 2")
    page.press("s")
    page.wait("!window.adlineDesk.card")
    wait_until(lambda: not any(plant.get(f"reviews/{one}")["holder"] for one in reviews), "all of it is given back")


def test_a_group_is_taken_together_again_after_a_reload(plant: Plant) -> None:
    for shift in range(3):
        plant.put(look=(shift / 1000, 1.0, 1.0))
    page = plant.open()
    page.wait(SHOWN)
    page.press("g")
    page.wait(f"{CARD}.group.length === 2")
    page.call("Page.reload")
    page.wait("window.adlineDesk?.cards.length === 3 && window.adlineDesk.card.shownAt")
    page.press("g")
    page.wait(f"{CARD}.group.length === 2")


def test_fingers_draw_and_two_of_them_zoom_without_a_mark(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    page.run("document.querySelector('[data-key=e]').click()")
    assert not page.run("document.querySelector('.with-brush').hidden")
    plant.touch("Start", plant.on_screen(10.5, 20.5))
    plant.touch("Move", plant.on_screen(40.5, 20.5))
    plant.touch("End")
    drawn = page.run(f"{CARD}.drawing.mask.data.filter(Boolean).length")
    assert drawn > 100
    scale = page.run("window.adlinePicture.view.scale")
    middle, apart = plant.on_screen(20, 40), plant.on_screen(30, 40)
    plant.touch("Start", middle)
    plant.touch("Start", middle, apart)
    plant.touch("Move", middle, (apart[0] + 200, apart[1]))
    plant.touch("End")
    assert page.run("window.adlinePicture.view.scale") > 1.3 * scale
    assert page.run(f"{CARD}.drawing.mask.data.filter(Boolean).length") == drawn
    page.run("document.querySelector('.anomaly').click()")
    plant.settled()
    assert [region["kind"] for region in plant.labels(review)[0]["regions"]] == ["mask"]


def test_a_finger_closes_a_polygon_and_the_brush_has_buttons_for_its_size(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    place = "JSON.stringify(document.querySelector('canvas').getBoundingClientRect())"
    before = page.run(place)
    page.run("document.querySelector('[data-key=e]').click()")
    radius = page.run("window.adlinePicture.radius")
    page.run("document.querySelector('[data-key=\"]\"]').click()")
    assert page.run("window.adlinePicture.radius") > radius
    page.run("document.querySelector('[data-key=p]').click()")
    assert page.run(place) == before, "the picture does not move when another tool is taken"
    for corner in ((10, 10), (30, 10), (30, 30)):
        plant.touch("Start", plant.on_screen(*corner))
        plant.touch("End")
    page.run("document.querySelector('[data-key=Enter]').click()")
    page.run("document.querySelector('.anomaly').click()")
    plant.settled()
    (region,) = plant.labels(review)[0]["regions"]
    assert region["kind"] == "polygon" and np.allclose(region["points"], [(10, 10), (30, 10), (30, 30)], atol=0.2)


def test_each_camera_of_a_part_is_seen_and_drawn_on_and_the_worst_comes_first(plant: Plant) -> None:
    page = plant.show(review := plant.put("side", "top"))
    page.press("e")
    fits = "(row) => row.scrollWidth <= row.clientWidth"
    assert page.run(f"[...document.querySelectorAll('.tools, .decide')].every({fits})")
    assert page.run(f"{CARD}.view.camera") == "top"
    assert not page.run("document.querySelector('.with-views').hidden")
    page.press("b")
    for _ in range(2):
        page.drag(plant.on_screen(5, 6), plant.on_screen(25, 26))
        page.press("v")
    assert page.run(f"{CARD}.view.camera") == "top"
    page.press("n")
    plant.settled()
    regions = plant.labels(review)[0]["regions"]
    assert [(one["camera"], one["kind"]) for one in regions] == [("side", "box"), ("top", "box")]
    assert np.allclose([one["points"] for one in regions], [[(5, 6), (25, 26)]] * 2, atol=0.2)


def test_a_lease_is_prolonged_while_somebody_is_there_and_ends_when_nobody_is(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    shorten = "for (const one of adlineDesk.leases()) one.lease_until = new Date(Date.now() + 4000).toISOString()"
    short = f"UPDATE reviews SET free_at = now() + interval '4 seconds' WHERE id = '{review}'"
    plant.sql(short)
    page.run(shorten)
    page.wait(f"Date.parse({CARD}.lease.lease_until) > Date.now() + 240000")
    page.wait("/^[45]:\\d\\d$/.test(document.querySelector('.lease').textContent)")
    plant.sql(short)
    page.run("adlineDesk.activeAt = 0")
    page.run(shorten)
    page.wait("Boolean(document.querySelector('.lease.short'))")
    page.wait("!document.querySelector('.notice').hidden && !window.adlineDesk.card")
    assert "went back to the queue" in page.run("document.querySelector('.notice').textContent")
    assert plant.get(f"reviews/{review}")["holder"] is None
    page.press("h")  # somebody is back
    page.wait(f"{SHOWN} === '{review}'")


def test_what_somebody_else_has_by_now_is_not_counted_and_the_operator_is_told(plant: Plant) -> None:
    page = plant.show(review := plant.put())
    plant.sql(f"UPDATE reviews SET holder = 'ben', token = token + 1 WHERE id = '{review}'")
    page.press("o")
    page.wait("document.querySelector('.notice').textContent.includes('is being decided by ben')")
    plant.settled()
    assert plant.labels(review) == []


def test_filter_and_order_are_chosen_by_the_keyboard_and_remembered(plant: Plant) -> None:
    with plant.up.database.begin() as session:
        records.register_station(session, "saw", "line-1")
    plant.put(product="bolt")
    sawn = plant.put(station="saw", product="plate")
    page = plant.open()
    page.wait(SHOWN)
    page.press("f")
    page.wait("document.activeElement.name === 'station'")
    page.press("s")  # selects what begins so; it skips nothing
    page.wait("document.querySelector('#bar-status').textContent.includes('saw')")
    page.wait(f"{SHOWN} === '{sawn}' && window.adlineDesk.cards.length === 1")
    page.run("document.querySelector('[name=policy]').focus()")
    page.press("o")
    page.wait("document.querySelector('#bar-status').textContent.includes('oldest first')")
    page.press("Escape")
    page.call("Page.reload")
    page.wait("document.querySelector('#bar-status').textContent.includes('saw, oldest first')")
    assert plant.get("queue/filter") == {"station": "saw", "product": None, "policy": "oldest"}
    assert [plant.labels(one["review_id"]) for one in plant.get("reviews?station=saw")] == [[]]


def test_a_16_bit_tiff_is_seen_and_decided(plant: Plant) -> None:
    deep = np.zeros((HEIGHT, WIDTH), np.uint16)
    deep[:, WIDTH // 2 :] = 4095
    page = plant.show(review := plant.put(data=cv2.imencode(".tif", deep)[1].tobytes()))
    script = """(() => {{ const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
        return [...canvas.getContext("2d").getImageData({0} - box.left, {1} - box.top, 1, 1).data]; }})()"""
    page.wait(f"{script.format(*plant.on_screen(50.5, 20.5))}[0] === 255")
    assert page.run(script.format(*plant.on_screen(10.5, 20.5)))[:3] == [0, 0, 0]
    page.press("o")
    plant.settled()
    assert plant.labels(review)[0]["decision"] == "normal"


def test_a_part_without_a_picture_can_be_decided_all_the_same(plant: Plant) -> None:
    seen = plant.put()
    captured = plant.up.plant.captured(plant.up.plant.trigger())
    event = plant.up.plant.decided(captured, 0.0, frames=(), predictions=(), verdict="ERROR", reason="no frame")
    with plant.up.database.begin() as session:
        records.record_verdicts(session, [event])
    inspection_id = str(event.trigger.inspection_id)
    review = plant.client.post("/api/v1/reviews", json={"inspection_id": inspection_id}).json()["review_id"]
    plant.sql(f"UPDATE reviews SET free_at = 'infinity' WHERE id = '{seen}'")
    page = plant.show(review)
    assert "no picture" in page.run("document.querySelector('.empty').innerText")
    page.press("c")
    plant.settled()
    assert plant.labels(review)[0]["decision"] == "cannot_tell"


def test_an_auditor_sees_what_waits_and_can_decide_nothing(plant: Plant) -> None:
    review = plant.put(part_id="P-7")
    plant.page.send_headers(showing(plant.up.database, NAMES[Role.AUDITOR], "token"))
    page = plant.open()
    page.wait("document.querySelector('.onlooker table')?.innerText.includes('P-7')")
    assert page.run("document.querySelectorAll('.desk button').length") == 0
    for key in "onm":
        page.press(key)
    assert (
        page.run(
            "fetch('/api/v1/reviews/claim', {method: 'POST', headers: {'content-type': 'application/json'}, "
            "body: '{}'}).then((answer) => answer.status)"
        )
        == 403
    )
    assert plant.labels(review) == [] and plant.get(f"reviews/{review}")["holder"] is None
    page.run("document.querySelector('.onlooker td a').click()")
    page.wait("Boolean(document.querySelector('.life h1'))")
    assert page.run("document.querySelectorAll('.life button').length") == 0, "nobody asks to look again"


RATES = ("escapes", "false_rejects", "good_in_review")


def test_the_line_page_tells_what_is_overdue_and_how_much_people_agree(plant: Plant) -> None:
    first, review = plant.put(), plant.put()
    held = plant.client.post(f"/api/v1/reviews/{first}/claim").json()
    said = {"token": held["token"], "resolution": {"decision": "normal"}}
    assert plant.client.post(f"/api/v1/reviews/{first}/resolve", json=said).status_code == 200
    plant.sql("UPDATE reviews SET opened_at = now()")
    plant.sql(f"UPDATE reviews SET opened_at = now() - interval '9 hours' WHERE id = '{review}'")
    page = plant.open("line")
    page.wait("!document.querySelector('.banner').hidden")
    assert "waited for a decision for longer than 8 h 0 min: 1." in page.run(
        "document.querySelector('.banner').textContent"
    )
    page.wait("document.querySelector('.agreement').textContent.includes('No part was decided twice')")
    page.wait("Boolean(document.querySelector('.rate.good_in_review .hint'))")
    rates = {name: page.run(f"document.querySelector('.rate.{name}').innerText") for name in RATES}
    assert "of good parts: those that were rejected (NG)" in rates["false_rejects"]
    assert "No sample decided yet" in rates["false_rejects"], "what people say of REVIEW parts is another figure"
    assert rates["good_in_review"].startswith("REVIEW parts that were good") and " %" in rates["good_in_review"]
    assert "95 %:" not in rates["good_in_review"] and "NaN" not in str(rates)


def test_the_models_page_leads_to_the_gates_figures_and_pictures(plant: Plant) -> None:
    run_id = report_on_record(plant.up.database, plant.up.home)
    page = plant.open("models")
    page.wait("document.querySelectorAll('.versions a.report, .runs a.report').length === 2")
    assert "0.910 → 0.950" in page.run("document.querySelector('.runs li').textContent")
    (url,) = set(page.run("[...document.querySelectorAll('a.report')].map((link) => link.href)"))
    assert url == f"{plant.url}/api/v1/training/{run_id}/report"
    page.open(url)
    page.wait("document.title === 'retrained against old' && document.images.length > 3")
    assert page.run("[...document.images].every((one) => one.complete && one.naturalWidth > 0)"), "pictures are shown"
    assert page.run("getComputedStyle(document.querySelector('.row')).display") == "flex", "and its styles hold"
