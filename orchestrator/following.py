"""How the inference workers of a running line follow a deployment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.running import RunningLine
from storage import deployments
from storage.database import Database
from storage.errors import LineRefused, LineSilent

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Followed:
    """Which workers score by the deployment; seconds are from the deployment to each worker's swap."""

    workers: list[str]
    swapped: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return set(self.workers) <= set(self.swapped)

    @property
    def last_seconds(self) -> float | None:
        return max(self.swapped.values(), default=None)

    def shown(self) -> dict[str, Any]:
        return {
            "workers": self.workers,
            "swapped_seconds": {name: round(seconds, 3) for name, seconds in self.swapped.items()},
            "last_swapped_seconds": None if self.last_seconds is None else round(self.last_seconds, 3),
            "refused": self.refused,
            "complete": self.complete,
        }


def follow(
    line: RunningLine, database: Database, made: dict[str, Any], timeout_seconds: float, sleep: Callable[[float], None]
) -> Followed:
    """Wait until every inference worker scores by the deployment, one refuses it, or the time is over."""
    until = time.monotonic() + timeout_seconds
    while True:
        found = followed(line, database, made)
        if found.complete or found.refused or time.monotonic() > until:
            return found
        sleep(POLL_SECONDS)


def followed(line: RunningLine, database: Database, made: dict[str, Any]) -> Followed:
    with database.begin() as session:
        rows = deployments.swaps(session, made["deployment_id"])
    deployed_at: datetime = made["deployed_at"]
    swapped = {row["worker"]: (row["swapped_at"] - deployed_at).total_seconds() for row in rows}
    try:
        workers = [one for one in line.status()["workers"] if one["stage"] == "inference"]
    except (LineSilent, LineRefused):
        workers = []
    place = f"{made['recipe']} {made['alias']}"
    refused = {
        one["name"]: said
        for one in workers
        if one["name"] not in swapped and (said := one["facts"].get("refused", {}).get(place))
    }
    return Followed([one["name"] for one in workers], swapped, refused)
