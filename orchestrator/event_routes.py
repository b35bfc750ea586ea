"""Server-sent events: what the line completes and what people decide, as it happens. The tables stay the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.queue_routes import Operator
from orchestrator.review_answers import REFUSED
from storage.errors import StreamUnavailable
from storage.events import Event, InspectionCompleted, ReviewResolved, ReviewsOverdue
from storage.stream import EventLog

LOOK_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 15.0  # a proxy cuts a connection on which nothing is said
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One event for each: `inspection.completed`, `review.resolved`, `review.overdue`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def add_events(app: FastAPI, log: Callable[[], EventLog]) -> None:
    @app.get("/api/v1/events", tags=["line"], responses=STREAM | REFUSED, response_class=StreamingResponse)
    async def events(
        who: Operator,
        seconds: Annotated[float, Query(gt=0, le=86_400, description="How long; then connect again.")] = 3600.0,
    ) -> StreamingResponse:
        """What happens from now on; a browser connects again by itself."""
        return StreamingResponse(told(log(), seconds), media_type="text/event-stream")


async def told(log: EventLog, seconds: float) -> AsyncIterator[str]:
    """Each event in the words of the protocol; a comment now and then, so that a dead connection is noticed."""
    loop = asyncio.get_running_loop()
    end, speak_at = loop.time() + seconds, loop.time()
    places: dict[type[Event], str] = {InspectionCompleted: "", ReviewResolved: "", ReviewsOverdue: ""}
    yield "retry: 1000\n\n"
    while loop.time() < end:
        news = await run_in_threadpool(follow, log, places)
        if news or loop.time() >= speak_at:
            speak_at = loop.time() + QUIET_SECONDS
            yield "".join(news) or ": quiet\n\n"
        await asyncio.sleep(min(LOOK_SECONDS, max(0.0, end - loop.time())))


def follow(log: EventLog, places: dict[type[Event], str]) -> list[str]:
    """What is new since last time; nothing while Redis is away."""
    news = []
    for event in places:
        try:
            found, places[event] = log.follow(event, places[event])
        except StreamUnavailable:
            continue
        news += [f"event: {event.stream}\ndata: {one.model_dump_json()}\n\n" for one in found]
    return news
