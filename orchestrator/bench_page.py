"""`adline bench page`: a person at the queue page who uses the keyboard alone, in a real Chromium.

Response is the time from a key's event in the page until the next part has been painted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from orchestrator.chromium import Page, chromium
from orchestrator.running import RunningLine

WAIT_SECONDS: Final = 1200.0
WATCH: Final = """
    window.responses = [];
    addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
    new MutationObserver(() => {
      const at = window.pressed, review = document.querySelector(".desk").dataset.review;
      if (!review || at === undefined || review === window.reviewBefore) return;
      window.reviewBefore = review;
      requestAnimationFrame(() => setTimeout(() => window.responses.push(performance.now() - at)));
    }).observe(document.querySelector(".desk"), { attributes: true, attributeFilter: ["data-review"] });
    true
"""
ANSWERS: Final = (("o",), ("n",), ("1", "n"), ("2", "m", "n"), ("c",), ("h", "o"))
"""What an operator types for one part."""


def bench_page(
    line: RunningLine, reviews: int, look_seconds: float, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Decide so many reviews of the running line; waits until so many are open.

    look_seconds: how long each part is looked at before the first key.
    """
    wait_open(line, reviews, say)
    with chromium() as page:
        page.size(1280, 800)
        page.send_headers({"Authorization": f"Bearer {line.token}"})
        page.open(f"{line.url}/queue")
        page.wait("document.querySelector('.desk')?.dataset.review")
        page.run(WATCH)
        return decide_all(page, reviews, look_seconds, random.Random(seed), say)


def wait_open(line: RunningLine, reviews: int, say: Callable[[str], None]) -> None:
    """More than are decided, so that the last one has a next, too."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := line.get("/api/v1/queue")["open"]) <= reviews and time.monotonic() < deadline:
        say(f"{found} of {reviews + 1} reviews are open")
        time.sleep(1.0)


def decide_all(
    page: Page, reviews: int, look_seconds: float, chance: random.Random, say: Callable[[str], None]
) -> dict[str, Any]:
    """look_seconds: how long each part is looked at before the first key."""
    seconds = []
    for number in range(reviews):
        begun = time.perf_counter()
        time.sleep(look_seconds)
        for key in chance.choice(ANSWERS):
            page.press(key)
        page.wait(f"window.responses.length > {number}")
        seconds.append(time.perf_counter() - begun)
        say(f"{number + 1} of {reviews} reviews decided")
    page.wait("document.querySelector('#bar-status').dataset.waiting === '0'")
    responses = sorted(page.run("window.responses"))
    return {
        "reviews": reviews,
        "decided": int(page.run("document.querySelector('#bar-status').dataset.decided")),
        "response_ms": {name: round(at(responses, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95))}
        | {"max": round(responses[-1], 1)},
        "seconds_each": {"p50": round(at(sorted(seconds), 0.5), 3), "max": round(max(seconds), 3)},
        "requests_elsewhere": [url for url in page.requests if not is_here(url)],
        "complaints": page.complaints,
    }


def at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def is_here(url: str) -> bool:
    """Whether the request stayed on this machine."""
    return url.startswith(("data:", "blob:", "about:")) or "//127.0.0.1:" in url or "//localhost:" in url
