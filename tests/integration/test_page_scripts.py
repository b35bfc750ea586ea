"""The pages' scripts in a real Chromium, without a line: masks, PNGs, drawings and views."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from orchestrator.chromium import Page, chromium
from workers.labeling import web

STATIC = Path(web.__file__).with_name("static")


class Files(http.server.SimpleHTTPRequestHandler):
    """The scripts where the pages have them, and one empty page."""

    def translate_path(self, path: str) -> str:
        return str(STATIC / path.removeprefix("/pages/"))

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(STATIC))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with chromium() as page:
            page.open(f"http://127.0.0.1:{server.server_address[1]}/pages/icon.svg")
            page.wait("document.readyState === 'complete' && location.protocol === 'http:'")
            yield page
        server.shutdown()
        thread.join()


def run(page: Page, module: str, script: str) -> Any:
    return page.run(f"import('/pages/{module}').then(async (all) => {{ {script} }})")


def test_a_mask_becomes_an_8_bit_grey_png_with_the_very_same_pixels(page: Page) -> None:
    script = """const mask = new all.Mask(37, 23); mask.stroke({x: 3, y: 4}, {x: 30, y: 18}, 2.5, 255);
        const bytes = new Uint8Array(await (await mask.toPng()).arrayBuffer());
        return [btoa(String.fromCharCode(...bytes)), [...mask.data]];"""
    png, drawn = run(page, "mask.js", script)
    read = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None and read.dtype == np.uint8 and read.shape == (23, 37)
    assert np.array_equal(read.ravel(), np.array(drawn, np.uint8))


def test_a_stroke_takes_the_pixels_whose_middle_is_within_its_radius(page: Page) -> None:
    script = """const mask = new all.Mask(40, 30); mask.stroke({x: 10, y: 10}, {x: 25, y: 15}, 4, 255);
        mask.stroke({x: 18, y: 12}, {x: 18, y: 12}, 1.5, 0); return [...mask.data];"""
    y, x = np.mgrid[0:30, 0:40] + 0.5
    along = np.clip(((x - 10) * 15 + (y - 10) * 5) / 250, 0, 1)
    wanted = np.hypot(x - 10 - 15 * along, y - 10 - 5 * along) <= 4
    wanted &= np.hypot(x - 18, y - 12) > 1.5
    found = np.array(run(page, "mask.js", script), np.uint8).reshape(30, 40)
    assert np.array_equal(found == 255, wanted)


def test_the_proposed_outlines_become_the_pixels_they_go_around(page: Page) -> None:
    wanted = np.zeros((40, 60), np.uint8)
    cv2.circle(wanted, (30, 20), 12, 255, -1)
    outlines, _ = cv2.findContours(wanted, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = outlines[0][:, 0, :].tolist()
    script = f"return [...all.Mask.fromOutlines(60, 40, [{points}]).data];"
    found = np.array(run(page, "mask.js", script), np.uint8).reshape(40, 60)
    assert np.count_nonzero(found != wanted) <= 0.02 * np.count_nonzero(wanted)


def test_a_mask_kept_in_the_tab_comes_back_as_it_was(page: Page) -> None:
    script = """const same = (mask) => {
          const again = all.Mask.fromRuns(9, 7, JSON.parse(JSON.stringify(mask.toRuns())));
          return `${again.data}` === `${mask.data}`; };
        const empty = new all.Mask(9, 7), full = new all.Mask(9, 7), some = new all.Mask(9, 7);
        full.stroke({x: 0, y: 0}, {x: 9, y: 7}, 99, 255); some.stroke({x: 2, y: 2}, {x: 8, y: 5}, 1, 255);
        return [same(empty), same(full), same(some), empty.isEmpty(), full.isEmpty()];"""
    assert run(page, "mask.js", script) == [True, True, True, True, False]


def test_each_step_of_a_drawing_is_undone_by_itself(page: Page) -> None:
    script = """const d = new all.Drawing("top", 100, 80); const told = [];
        d.addBox({x: -5, y: 10}, {x: 40, y: 300}, "crack"); told.push(d.shapes[0].points);
        for (const p of [[1, 1], [9, 1], [9, 9], [9, 9]]) d.addCorner({x: p[0], y: p[1]});
        d.closePolygon(null); told.push(d.shapes[1].points.length);
        d.beginStroke(null); d.stroke({x: 5, y: 5}, {x: 5, y: 5}, 3, false); told.push(d.hasMask);
        d.undo(); told.push(d.hasMask, d.shapes.length); d.undo(); told.push(d.shapes.length);
        d.undo(); told.push(d.isEmpty, d.undo()); return told;"""
    assert run(page, "drawing.js", script) == [[[0, 10], [40, 80]], 3, True, False, 2, 1, True, False]


def test_strokes_on_a_large_frame_are_undone_to_the_pixel_and_keep_little(page: Page) -> None:
    script = """const d = new all.Drawing("top", 4096, 3000), {Mask} = await import("/pages/mask.js");
        const whole = Mask.fromRuns(4096, 3000, [5000, 4096 * 1000]);
        const states = [], kept = () => `${d.mask.count} ${d.mask.toRuns()}`;
        d.accept(whole, null); states.push(kept());
        for (let i = 0; i < 4; i++) {
          d.beginStroke(null);
          d.stroke({x: 100 + 900 * i, y: -50}, {x: 4000 - 900 * i, y: 2999.5}, 40, i % 2 === 1);
          states.push(kept());
        }
        const bytes = d.keptBytes, mismatches = [];
        for (let i = 3; i >= 0; i--) { d.undo(); if (kept() !== states[i]) mismatches.push(i); }
        d.undo();
        for (let i = 0; i < 130; i++) {
          d.beginStroke(null);
          d.stroke({x: 0, y: 20 * i}, {x: 4096, y: 20 * i}, 60, i % 2 === 0);
        }
        return [bytes < 8e6, mismatches, d.keptBytes < 18e6, d.before.length <= 100, d.before.length > 2];"""
    assert run(page, "drawing.js", script) == [True, [], True, True, True]


def test_a_layer_shows_the_mask_as_it_is_after_strokes_and_undoing(page: Page) -> None:
    script = """const {Layer, DRAWN} = await import("/pages/layer.js"), d = new all.Drawing("top", 1100, 700);
        d.beginStroke(null); const layer = new Layer(d.mask, DRAWN), same = [];
        const check = () => { layer.follow();
          const shown = new OffscreenCanvas(1100, 700).getContext("2d");
          layer.paint(shown, {x: 0, y: 0, scale: 1});
          const rgba = shown.getImageData(0, 0, 1100, 700).data;
          same.push(d.mask.data.every((value, i) => rgba[4 * i + 3] === value)); };
        d.stroke({x: 5, y: 5}, {x: 1095, y: 690}, 9, false); check();
        d.beginStroke(null); d.stroke({x: 500, y: 0}, {x: 530, y: 699}, 30, true);
        d.stroke({x: -90, y: -90}, {x: -80, y: -80}, 5, false); check();
        d.undo(); check(); return [...same, d.mask.count > 0, layer.tiles.size < 6];"""
    assert run(page, "drawing.js", script) == [True] * 5


def test_the_brush_follows_the_pointer_on_a_frame_of_12_megapixels(page: Page) -> None:
    script = """const {Drawing} = await import("/pages/drawing.js");
        const canvas = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas");
        document.documentElement.append(canvas);
        const picture = new all.Picture(canvas), drawing = new Drawing("top", 4096, 3000);
        Object.assign(canvas, {width: 980, height: 560});
        const bitmap = await createImageBitmap(new ImageData(4096, 3000));
        picture.size = () => ({width: 980, height: 560});
        picture.show({picture: bitmap, heat: null, proposed: null, width: 4096, height: 3000}, drawing);
        drawing.beginStroke(null);
        const moves = [], drafts = [];
        for (let i = 0; i < 40; i++) {
          const at = performance.now();
          drawing.stroke({x: 60 * i, y: 50 * i}, {x: 60 * (i + 1), y: 50 * (i + 1)}, 12, false);
          picture.follow(); picture.paint(); picture.context.getImageData(0, 0, 1, 1);
          moves.push(performance.now() - at);
        }
        for (let i = 0; i < 5; i++) {
          drawing.stroke({x: 9 * i, y: 0}, {x: 9, y: 9}, 3, false);
          const at = performance.now(); JSON.stringify(drawing.toDraft()); drafts.push(performance.now() - at);
        }
        const middle = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
        canvas.remove();
        return [middle(moves), middle(drafts)];"""
    move, draft = run(page, "picture.js", script)
    print(f"{move:.1f} ms a move, {draft:.1f} ms a draft")
    assert move < 40 and draft < 60


def test_the_point_under_the_pointer_stays_there_when_the_view_is_zoomed(page: Page) -> None:
    script = """const view = new all.View(); view.fit({width: 300, height: 300}, {width: 900, height: 600});
        const before = view.toFrame({x: 500, y: 100}); view.zoom(7.3, {x: 500, y: 100}); view.pan(3, -2);
        const after = view.toFrame({x: 503, y: 98}); const back = view.toScreen(after);
        return [before.x - after.x, before.y - after.y, back.x - 503, back.y - 98].every((d) => Math.abs(d) < 1e-9);"""
    assert run(page, "view.js", script) is True
