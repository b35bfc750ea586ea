"""The part, line and models pages in a real Chromium: what is drawn, and how it can be read."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from orchestrator.postgres import EmbeddedPostgres
from orchestrator.valkey import EmbeddedValkey
from tests.integration.desk_plant import CARD, HEIGHT, WIDTH, Plant, emptied, serving

CONTRASTS = """(() => {
    const light = (colour) => {
      const [r, g, b] = colour.match(/[\\d.]+/g).map((one) => one / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (one) => {
      const colour = getComputedStyle(one).backgroundColor;
      return colour === "rgba(0, 0, 0, 0)" ? ground(one.parentElement) : colour; };
    const root = document.querySelector(".line");
    const put = (place, html) => root.querySelector(place).insertAdjacentHTML("beforeend", html);
    for (const verdict of ["OK", "NG", "ERROR", "REVIEW"]) put(".last ol", `<li class="${verdict}"><b>x</b></li>`);
    for (const state of ["running", "failed"]) put(".workers ul", `<li class="${state}"><b>x</b><span>x</span></li>`);
    for (const state of ["running", "held"])
      put(".tiles", `<div class="tile"><strong class="${state}">x</strong></div>`);
    return [...root.querySelectorAll(".last b, .workers b, .workers span, .tile strong, .tile span")].map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
      return [one.parentElement.className + " " + one.tagName + " " + one.className, (a + 0.05) / (b + 0.05)]; });
})()"""


@pytest.fixture(scope="module")
def served(
    postgres_server: EmbeddedPostgres,
    valkey_server: EmbeddedValkey,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("pages")
    with serving(postgres_server, valkey_server, template_database, folder, "other_pages") as plant:
        yield plant


@pytest.fixture
def plant(served: Plant) -> Iterator[Plant]:
    with emptied(served) as plant:
        yield plant


def test_the_part_page_draws_the_regions_of_a_decision_over_the_picture(plant: Plant) -> None:
    page = plant.show(review := plant.put(part_id="P-1"))
    page.press("b")
    page.drag(plant.on_screen(8, 6), plant.on_screen(24, 18))
    page.press("p")
    for corner in ((40, 10), (60, 10), (60, 20)):
        page.drag(plant.on_screen(*corner))
    page.press("Enter")
    page.press("e")
    page.drag(plant.on_screen(20.5, 36.5), plant.on_screen(44.5, 36.5))
    mask = np.array(page.run(f"[...{CARD}.drawing.mask.data]"), np.uint8).reshape(HEIGHT, WIDTH)
    page.press("3")
    page.press("n")
    plant.settled()
    assert len(plant.labels(review)[0]["regions"]) == 3
    page.open(f"{plant.url}/part/P-1")
    page.wait("document.querySelectorAll('.seen .regions, .decisions .regions').length === 2")
    page.wait("[...document.querySelectorAll('img')].every((one) => one.complete)")
    shown = page.run("document.body.innerText")
    assert "Box" in shown and "Mask" in shown and "[[" not in shown, "words, and no coordinates"
    assert plant.labels(review)[0]["regions"][2]["mask_sha256"] not in shown
    red = red_of(plant)
    assert red.shape == (HEIGHT, WIDTH)
    assert np.mean(red[mask > 0]) > 0.95, "the mask is seen where it was drawn"
    assert red[6, 16] and red[12, 8] and not red[12, 16], "the box is an outline"
    assert red[10, 50] and red[15, 60] and not red[25, 30]


def red_of(plant: Plant) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where the picture of the part page is reddish, in pixels of the frame."""
    place = "document.querySelector('.seen .over').getBoundingClientRect()"
    box = plant.page.run(f"(({{x, y, width, height}}) => [x, y, width, height])({place})")
    screen = cv2.imdecode(np.frombuffer(plant.page.picture(), np.uint8), cv2.IMREAD_COLOR)
    assert screen is not None
    left, top, width, height = box
    scale = min(width / WIDTH, height / HEIGHT)
    x = left + (width - WIDTH * scale) / 2 + scale * np.arange(WIDTH + 1)
    y = top + (height - HEIGHT * scale) / 2 + scale * np.arange(HEIGHT + 1)
    red = (screen[..., 2].astype(int) - screen[..., 1] > 60).astype(np.uint8)
    # The lines are two pixels of the screen wide, on the edges of the frame's pixels.
    wide = cv2.dilate(red, np.ones((3, 3), np.uint8)).astype(bool)
    rows, columns = (np.round(at[:-1] + scale * 0.02).astype(int) for at in (y, x))
    found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = wide[np.ix_(rows, columns)]
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_have_contrast_enough_in_either_theme(plant: Plant, theme: str) -> None:
    plant.open("line").wait("Boolean(document.querySelector('.workers li'))")
    plant.page.run(f"document.cookie = 'adline_theme={theme}; path=/'")
    page = plant.open("line")
    page.wait(f"document.body.classList.contains('body--dark') === {str(theme == 'dark').lower()}")
    page.wait("Boolean(document.querySelector('.workers li') && document.querySelector('.tile'))")
    found = page.run(CONTRASTS)
    assert len(found) > 10
    assert [one for one in found if one[1] < 4.5] == []
    page.run("document.cookie = 'adline_theme=; path=/; max-age=0'")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_each_page_says_which_language_it_is_in(plant: Plant, language: str) -> None:
    plant.open("line").wait("Boolean(document.querySelector('.line'))")
    plant.page.run(f"document.cookie = 'adline_language={language}; path=/'")
    for path in ("queue", "line", "models", "part/nothing"):
        page = plant.open(path)
        page.wait(f"location.pathname === '/{path}' && document.querySelector('.page')?.innerText")
        assert page.run("document.documentElement.lang") == language, path
    plant.page.run("document.cookie = 'adline_language=; path=/; max-age=0'")


def test_headings_of_the_models_page_are_modest(plant: Plant) -> None:
    page = plant.open("models")
    page.wait("document.querySelectorAll('.models h2').length === 4 && Boolean(document.querySelector('.models li'))")
    assert (
        page.run(
            "Math.max(...[...document.querySelectorAll('.models h2')].map("
            "(one) => parseFloat(getComputedStyle(one).fontSize)))"
        )
        <= 18
    )
