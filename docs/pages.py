"""Makes docs/queue.png, line.png and part.png: the operator's pages of a demo line that runs in this folder.

`adline start` in another terminal, then `python docs/pages.py` in the same folder once some parts are under review.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from orchestrator.chromium import Page, chromium
from orchestrator.configuration import load_settings
from orchestrator.running import require_line

FOLDER = Path(__file__).parent
DECIDED = 24
SHOWN = "document.querySelector('.desk')?.dataset.review"


def main() -> None:
    line = require_line(load_settings(None, os.environ))
    with chromium() as page:
        page.size(1280, 800)
        page.open(f"{line.url}/queue")
        for number in range(DECIDED):
            review = page.wait(SHOWN)
            for key in ("o",) if number % 3 else ("3", "m", "n"):
                page.press(key)
            page.wait(f"{SHOWN} && {SHOWN} !== '{review}'")
        page.wait("document.querySelector('.similar li')?.className")
        page.press("h")
        keep(page, "queue")
        part = line.get("/api/v1/reviews?state=resolved&limit=1")[0]["inspection_id"]
        page.open(f"{line.url}/part/{part}")
        page.wait("document.querySelector('.decisions li')?.className")
        keep(page, "part")
        page.open(f"{line.url}/line")
        page.wait("document.querySelector('.stations article')?.innerText")
        keep(page, "line")


def keep(page: Page, name: str) -> None:
    time.sleep(2)  # pictures that are still on their way
    pixels = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    small = cv2.resize(pixels, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(FOLDER / f"{name}.png"), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
