"""Makes docs/queue.png, line.png and part.png: the operator's pages of a demo line that runs in this folder.

`adline start` in another terminal, then `python docs/pages.py` in the same folder once some parts are under review. The
browser's machine needs a Korean font for the name of the other language: apt-get install fonts-nanum.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from orchestrator.chromium import Page, chromium
from orchestrator.configuration import load_settings
from orchestrator.running import RunningLine, require_line

FOLDER = Path(__file__).parent
DECIDED = 24
PROPOSED = "Boolean(window.adlineDesk.card?.view?.proposal)"
SHOWN = "document.querySelector('.desk')?.dataset.review"


def main() -> None:
    line = require_line(load_settings(None, os.environ))
    with chromium() as page:
        page.size(1280, 800)
        page.open(f"{line.url}/queue")
        for number in range(DECIDED):
            page.wait(SHOWN)
            decide(page, ("o",) if number % 3 else ("3", "m", "n"))
        while not page.run(PROPOSED):
            decide(page, ("o",))
        page.wait("document.querySelector('.similar li')?.className")
        page.press("h")
        keep(page, "queue")
        page.open(f"{line.url}/part/{drawn_on(line)}")
        page.wait("document.querySelector('.decisions li')?.className")
        keep(page, "part")
        page.open(f"{line.url}/line")
        page.wait("document.querySelector('.stations article')?.innerText")
        keep(page, "line")


def decide(page: Page, keys: tuple[str, ...]) -> None:
    review = page.run(SHOWN)
    for key in keys:
        page.press(key)
    page.wait(f"{SHOWN} && {SHOWN} !== '{review}'")


def drawn_on(line: RunningLine) -> str:
    """A part whose decision has a region."""
    for review in line.get("/api/v1/reviews?state=resolved&limit=50"):
        if any(label["regions"] for label in line.get(f"/api/v1/reviews/{review['review_id']}")["labels"]):
            return str(review["inspection_id"])
    raise SystemExit("no decision has a region")


def keep(page: Page, name: str) -> None:
    time.sleep(2)  # pictures that are still on their way
    pixels = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    small = cv2.resize(pixels, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(FOLDER / f"{name}.png"), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
