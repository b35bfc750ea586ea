"""One person at the queue: claims, thinks, decides; now and then stalls, crashes, answers late or says it twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from storage.errors import LineRefused

LEASE_SECONDS: Final = 2.0
ALONE_SECONDS: Final = 120.0  # of who claims all that is open for a while, and gives it back
THINK_SECONDS: Final = 0.7
IDLE_SECONDS: Final = 1.5  # as the operator's page asks again while nothing is there for its person
ANSWER_SECONDS: Final = 30.0
UNANSWERED: Final = 0  # in the place of a status
FATES: Final = {"decide": 74, "stall": 6, "crash": 6, "late": 6, "release": 3, "repeat": 5}
"""Out of a hundred claims, what becomes of how many."""
DECISIONS: Final = (
    {"decision": "normal"},
    {"decision": "anomaly", "defects": ["crack"]},
    {"decision": "cannot_tell", "note": "blurred"},
)


@dataclass
class Answers:
    """What one client was told."""

    person: str
    claims: list[tuple[str, int]] = field(default_factory=list)
    abandoned: list[tuple[str, int]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    claim_seconds: list[float] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0


class Client:
    """A connection that is kept; a crash loses it, and the work in hand."""

    def __init__(
        self, url: str, station: str | None, person: str, token: str, luck: Random, done: threading.Event
    ) -> None:
        self.place, self.station, self.luck, self.done = urlsplit(url).netloc, station, luck, done
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self.answers = Answers(person)
        self.connection = self.connected()

    def connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.place, timeout=ANSWER_SECONDS)

    def work(self) -> Answers:
        self.done.wait(self.luck.uniform(0, THINK_SECONDS))  # people do not begin at the same moment
        while not self.done.is_set():
            self.one()
        self.connection.close()
        return self.answers

    def one(self) -> None:
        lease = self.claim()
        if lease is None:
            self.done.wait(IDLE_SECONDS)
            return
        fate = self.luck.choices(list(FATES), list(FATES.values()))[0]
        getattr(self, fate)(lease, self.luck.choice(DECISIONS))

    def claim(self, policy: str = "oldest") -> dict[str, Any] | None:
        lease_seconds = LEASE_SECONDS if self.station else ALONE_SECONDS
        wish = {"station": self.station, "product": None, "policy": policy, "lease_seconds": lease_seconds}
        began = time.perf_counter()
        status, answer = self.post("/api/v1/reviews/claim", wish)
        self.answers.claim_seconds.append(time.perf_counter() - began)
        if status == UNANSWERED:
            return None  # perhaps claimed, and nobody knows: it comes back by itself
        if status != 200:
            raise LineRefused(f"a claim was answered {status}: {answer}")
        for lease in answer["reviews"]:
            self.answers.claims.append((lease["review_id"], lease["token"]))
            return dict(lease)
        return None

    def decide(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        self.done.wait(min(self.luck.expovariate(1 / THINK_SECONDS), 0.8 * LEASE_SECONDS))
        self.resolve(lease, decision)

    def stall(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        """Longer than the lease, and alive."""
        self.done.wait(0.5 * LEASE_SECONDS)
        self.act(lease, "heartbeat", {"token": lease["token"]})
        self.done.wait(LEASE_SECONDS)
        self.resolve(lease, decision)

    def crash(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        self.connection.close()
        self.connection = self.connected()
        self.answers.abandoned.append((lease["review_id"], lease["token"]))

    def late(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        self.done.wait(LEASE_SECONDS * self.luck.uniform(1.0, 1.6))
        self.answers.abandoned.append((lease["review_id"], lease["token"]))
        self.resolve(lease, decision)

    def release(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        self.act(lease, "release", {"token": lease["token"]})

    def repeat(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        """The answer was lost: the same again."""
        self.decide(lease, decision)
        self.resolve(lease, decision)

    def resolve(self, lease: dict[str, Any], decision: dict[str, Any]) -> None:
        status, answer = self.act(lease, "resolve", {"token": lease["token"], "resolution": decision})
        if status == UNANSWERED:  # perhaps on record: said again, it is the same decision
            status, answer = self.act(lease, "resolve", {"token": lease["token"], "resolution": decision})
        if status == 200:
            self.answers.accepted.add(answer["label_id"])

    def act(self, lease: dict[str, Any], what: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, answer = self.post(f"/api/v1/reviews/{lease['review_id']}/{what}", body)
        if status == 409:
            self.answers.refused += 1
        elif status not in (200, 204, UNANSWERED):
            raise LineRefused(f"{what} was answered {status}: {answer}")
        return status, answer

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The answer; UNANSWERED when none came, whatever became of what was asked."""
        try:
            self.connection.request("POST", path, json.dumps(body), self.headers)
            answer = self.connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            self.answers.unanswered += 1
            self.connection.close()
            self.connection = self.connected()
            return UNANSWERED, None
        return answer.status, json.loads(data) if data else None
