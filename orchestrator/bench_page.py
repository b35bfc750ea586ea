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
ACCEPT: Final = "m"
ACCEPTED: Final = """(() => { const { id, view, drawing } = window.adlineDesk.card;
    return { review: id, proposed: view.proposal?.count ?? 0, drawn: drawing.mask?.count ?? 0 }; })()"""


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
    seconds, accepted = [], []
    for number in range(reviews):
        begun = time.perf_counter()
        time.sleep(look_seconds)
        for key in chance.choice(ANSWERS):
            page.press(key)
            if key == ACCEPT:
                accepted.append(page.run(ACCEPTED))
        page.wait(f"window.responses.length > {number}")
        seconds.append(time.perf_counter() - begun)
        say(f"{number + 1} of {reviews} reviews decided")
    page.wait("document.querySelector('#bar-status').dataset.waiting === '0'")
    responses = sorted(page.run("window.responses"))
    seconds.sort()
    return {
        "reviews": reviews,
        "decided": int(page.run("document.querySelector('#bar-status').dataset.decided")),
        "response_ms": {name: round(at(responses, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95))}
        | {"max": round(responses[-1], 1)},
        "seconds_each": {name: round(at(seconds, share), 3) for name, share in (("p50", 0.5), ("p95", 0.95))}
        | {"max": round(seconds[-1], 3)},
        "proposals": proposals(page, accepted),
        "requests_elsewhere": [url for url in page.requests if not is_here(url)],
        "complaints": page.complaints,
    }


def proposals(page: Page, accepted: list[dict[str, Any]]) -> dict[str, int]:
    """Of the parts at which M was pressed: at how many a region was proposed, taken to the pixel, and is on record."""
    offered = [one for one in accepted if one["proposed"]]
    taken = [one for one in offered if one["drawn"] == one["proposed"]]
    return {
        "asked": len(accepted),
        "offered": len(offered),
        "taken": len(taken),
        "stored": sum(page.run(stored(one["review"])) for one in taken),
    }


def stored(review: str) -> str:
    """Whether the review's decision has the mask that was accepted."""
    return (
        f"fetch('/api/v1/reviews/{review}').then((answer) => answer.json()).then(({{ labels }}) => "
        "labels.at(-1).decision === 'anomaly' && labels.at(-1).regions.some(({ kind }) => kind === 'mask'))"
    )


def at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def is_here(url: str) -> bool:
    """Whether the request stayed on this machine."""
    return url.startswith(("data:", "blob:", "about:")) or "//127.0.0.1:" in url or "//localhost:" in url
