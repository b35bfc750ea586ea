"""A Chromium without a window, driven by its DevTools protocol: what a person at a page does and sees, done and seen.

For measuring and testing the pages. It has a profile of its own in a temporary folder, and talks to nobody unasked.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

from storage.errors import BrowserFailed, BrowserMissing

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"),
    *("--force-prefers-reduced-motion", "--remote-debugging-port=0"),
)
PATIENCE_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.02
KEYS: Final = {
    "Enter": 13,
    "Shift": 16,
    "Escape": 27,
    "Tab": 9,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Page:
    """The one page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.numbers = itertools.count(1)
        self.session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.told: deque[dict[str, Any]] = deque()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser; what it tells of its own accord meanwhile is noted."""
        number = next(self.numbers)
        asked = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(asked | ({"sessionId": self.session} if self.session else {})))
        while True:
            message = json.loads(self.connection.recv(timeout=PATIENCE_SECONDS))
            if message.get("id") == number:
                break
            self.note(message)
        if "error" in message:
            raise BrowserFailed(f"{method}: {message['error']['message']}")
        answer: dict[str, Any] = message["result"]
        return answer

    def note(self, message: Mapping[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(told["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if told["type"] == "error":
                self.complaints.append(json.dumps(told["args"]))

    def size(self, width: int, height: int) -> None:
        facts = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", **facts)

    def send_headers(self, headers: Mapping[str, str]) -> None:
        self.call("Network.setExtraHTTPHeaders", headers=dict(headers))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserFailed(f"{script}: {answer['exceptionDetails'].get('exception', answer)}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Until the expression is true in the page, across loads of it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := self.run(script):
                    return found
            except BrowserFailed:  # the page is being loaded
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise BrowserFailed(f"waited in vain for {script}")
            time.sleep(POLL_SECONDS)

    def press(self, key: str, code: str = "") -> None:
        """One key down and up, as a keyboard sends it. code: where it is, if the key itself is no Latin letter."""
        self.hold(key, 0, code)

    def hold(self, key: str, repeats: int, code: str = "") -> None:
        """A key held down until it has repeated itself so often."""
        number = KEYS.get(key) or ord(code[-1] if code else key.upper())
        facts = {"key": key, "code": code, "windowsVirtualKeyCode": number, "nativeVirtualKeyCode": number}
        text = {"text": "\r" if key == "Enter" else key} if key == "Enter" or len(key) == 1 else {}
        for number in range(repeats + 1):
            down = "keyDown" if text else "rawKeyDown"
            self.call("Input.dispatchKeyEvent", type=down, autoRepeat=number > 0, **facts, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, selector: str) -> None:
        """The left button on the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, top, width, height = self.run(f"(({{x, y, width, height}}) => [x, y, width, height])({box})")
        self.drag((left + width / 2, top + height / 2))

    def drag(self, *points: tuple[float, float]) -> None:
        """The left button pressed at the first point, moved along the others, let go at the last."""
        first, *others = points
        self.mouse("mousePressed", first)
        for point in others:
            self.mouse("mouseMoved", point)
        self.mouse("mouseReleased", points[-1])

    def mouse(self, kind: str, point: tuple[float, float]) -> None:
        facts = {"x": point[0], "y": point[1], "button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, **facts)

    def picture(self) -> bytes:
        """The page as it is shown, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def chromium_path() -> str:
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise BrowserMissing(f"none of {', '.join(NAMES)} is installed: apt-get install chromium (or: make browser)")


@contextmanager
def chromium() -> Iterator[Page]:
    """A browser with one empty page; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="adline-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [chromium_path(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(address(process, Path(profile)), max_size=None, proxy=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait()


def address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where the browser listens, on this machine alone: it writes it down when it is up."""
    file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(POLL_SECONDS)
    raise BrowserFailed(f"{chromium_path()} did not start (exit code {process.poll()})")
