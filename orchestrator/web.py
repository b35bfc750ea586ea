"""The web port: health, metrics, and the API for parts and triggers."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path as PathOnDisk
from typing import Annotated, Any, Protocol
from urllib.parse import quote
from uuid import UUID

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.answer import answered_with, problem
from orchestrator.counting import Counting
from orchestrator.defect_routes import add_defects
from orchestrator.doorkeeper import Doorkeeper
from orchestrator.event_routes import add_events
from orchestrator.guard import Guard
from orchestrator.health import LineHealth
from orchestrator.image_routes import MASK_BYTES, add_images
from orchestrator.line_routes import StationStates, add_line
from orchestrator.metrics import LineMetrics, exposition
from orchestrator.model_routes import add_models
from orchestrator.part_answers import Check, LineStatus
from orchestrator.part_routes import add_parts
from orchestrator.password_page import add_password_page
from orchestrator.person import needs, undeclared
from orchestrator.queue_routes import add_queue, rules
from orchestrator.relay import add_pages
from orchestrator.review_routes import add_reviews
from orchestrator.session import add_session
from orchestrator.settings import Settings
from orchestrator.sight_routes import add_sight
from orchestrator.sign_in_page import PATH as SIGN_IN
from orchestrator.sign_in_page import add_sign_in_page
from orchestrator.training_routes import add_training
from storage.code_version import code_version
from storage.database import Database
from storage.errors import (
    AdlineError,
    DatabaseUnavailable,
    DiskFull,
    ImageMissing,
    ModelError,
    NotOnRecord,
    PasswordRefused,
    ResolutionRefused,
    ReviewStale,
    ServiceFailed,
    SignInLimited,
    SignInRefused,
    StreamUnavailable,
    TrainingEnded,
)
from storage.events import Trigger
from storage.images import ImageStore
from storage.stream import EventLog
from workers.capture.trigger import software_trigger
from workers.labeling.queue import Queue

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
BODY_BYTES = 64 << 10  # many times the longest part, product and lot
DECISION_BYTES = 4 << 20  # with every region drawn by hand
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # Postgres holds no NUL, and no label shows a line break
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]


class ServedLine(Protocol):
    """What the web port needs of the line that is up."""

    settings: Settings
    database: Database
    log: EventLog
    tally: Any
    console_token: str
    is_demo: bool

    @property
    def run_id(self) -> UUID: ...

    @property
    def home(self) -> PathOnDisk: ...

    @property
    def images(self) -> PathOnDisk: ...

    def health(self) -> LineHealth: ...


class Part(BaseModel):
    """What is known of the part that is in place."""

    model_config = ConfigDict(extra="forbid")

    part_id: Name | None = Field(default=None, description="Serial number of the part.")
    product: Name | None = Field(default=None, description="Kind of part; what the station says when not given.")
    lot: Name | None = Field(default=None, description="Batch the part belongs to.")


class Readiness(BaseModel):
    """Whether parts can be inspected, check by check."""

    ready: bool
    state: str
    checks: dict[str, Check]
    dead_letters: int | None = Field(description="Events that were set aside; not set while Redis does not answer.")


INVALID = answered_with(422, "What was sent is not as described.")
AWAY = answered_with(503, "A service does not answer; nothing was lost, ask again.")
REFUSED = {
    **answered_with(401, "Nobody has signed in."),
    **answered_with(403, "The role does not allow it, or a page of another site sent it."),
    **AWAY,
}
PROBLEMS = {
    **answered_with(400, "The body cannot be read."),
    **answered_with(404, "There is none."),
    **answered_with(413, f"The body has more than {BODY_BYTES} bytes."),
    **INVALID,
    **REFUSED,
}


def web_app(up: ServedLine) -> FastAPI:
    """The application of a line that is up."""
    app = FastAPI(title="adline", version=code_version(), docs_url=None, redoc_url=None)
    app.add_exception_handler(AdlineError, answer_adline_error)
    app.add_exception_handler(StarletteHTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(Exception, answer_unforeseen)
    doorkeeper = Doorkeeper(up.database, up.settings, console_token=up.console_token, is_demo=up.is_demo)
    app.add_middleware(BodyLimit, BODY_BYTES, {"/api/v1/masks": MASK_BYTES, "/api/v1/reviews": DECISION_BYTES})
    app.add_middleware(Guard, doorkeeper)
    counting = Counting(lambda: up.database, rules(up.settings.labeling).ageing)
    states = StationStates(lambda: up.database)
    add_health(app, up, counting, states)
    add_session(app, doorkeeper)
    add_sign_in_page(app, doorkeeper)
    add_password_page(app, doorkeeper)
    add_api(app, up, counting)
    add_parts(app, lambda: up.database)
    add_labeling(app, up, counting)
    add_line(app, states)
    add_models(app, lambda: up.database, up.home / "models", up.settings.recipes)
    add_pages(app, up.home)
    if open_routes := list(undeclared(app.routes)):
        raise RuntimeError(f"routes that do not say whom they are for (orchestrator.person.needs): {open_routes}")
    return app


def add_labeling(app: FastAPI, up: ServedLine, counting: Counting) -> None:
    """The queue; what it stands on is looked up at each request, so that it is always the line's own."""
    labeling = rules(up.settings.labeling)
    images = ImageStore(up.images, up.settings.images.minimum_free_megabytes << 20)

    def queue() -> Queue:
        return Queue(up.database, up.log, images, labeling)

    add_queue(app, queue)
    add_reviews(app, queue, counting)
    add_defects(app, queue)
    add_images(app, lambda: images)
    add_events(app, lambda: up.log)
    add_sight(app, queue)
    add_training(app, lambda: up.database, up.settings, up.home)


def add_health(app: FastAPI, up: ServedLine, counting: Counting, states: StationStates) -> None:
    anybody = [Depends(needs("anybody"))]
    recipes = {station.name: station.recipe for station in up.settings.stations}
    scrapers = anybody if up.settings.server.open_metrics else [Depends(needs("engineer"))]

    @app.get("/healthz", tags=["health"], dependencies=anybody)
    @app.get("/health", tags=["health"], include_in_schema=False, dependencies=anybody)
    def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=["health"],
        response_model=Readiness,
        responses={503: {"model": Readiness}},
        dependencies=anybody,
    )
    def readyz() -> JSONResponse:
        """Parts can be inspected; else 503 with the check that fails."""
        health = up.health()
        content = {"ready": health.ready, "state": health.state, "checks": health.checks()}
        content["dead_letters"] = health.dead_letters  # a fact: parts are inspected all the same
        return JSONResponse(content, status_code=200 if health.ready else 503)

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse, responses=REFUSED, dependencies=scrapers)
    def metrics() -> Response:
        """Prometheus text format."""
        body, media_type = exposition(LineMetrics(up.health(), up.tally, up.log, counting, states, recipes))
        return Response(body, media_type=media_type)

    @app.get("/version", tags=["health"], dependencies=anybody)
    def version() -> dict[str, str]:
        """Which code is running."""
        return {"version": code_version()}


def add_api(app: FastAPI, up: ServedLine, counting: Counting) -> None:
    operators = [Depends(needs("operator"))]

    @app.get("/api/v1/status", tags=["line"], responses=REFUSED, response_model=LineStatus, dependencies=operators)
    def status() -> dict[str, Any]:
        """What `adline status` shows; the queue is not set while the database does not answer."""
        return up.health().shown() | {"queue": queue_state(counting)}

    @app.post(
        "/api/v1/stations/{station}/trigger",
        tags=["parts"],
        status_code=202,
        responses=PROBLEMS,
        dependencies=operators,
    )
    def trigger(station: Annotated[str, Path(max_length=63)], part: Part) -> Trigger:
        """Tell that a part is in place; its verdict will be found under the inspection_id that is answered."""
        products = {one.name: one.product for one in up.settings.stations}
        if station not in products:
            raise HTTPException(404, f"there is no station {station!r}; this line has {', '.join(products)}")
        product = part.product or products[station]
        return software_trigger(up.log, station, up.run_id, part_id=part.part_id, product=product, lot=part.lot)


def queue_state(counting: Counting) -> dict[str, Any] | None:
    """How many reviews wait and how many for too long, so that the line's engineer sees it."""
    try:
        return counting.counts()
    except DatabaseUnavailable:
        return None


class BodyLimit:
    """Refuses a larger body before it is read into memory, however it is sent."""

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int]) -> None:
        self.app, self.limit, self.larger = app, limit, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        limit = next((size for place, size in self.larger.items() if path.startswith(place)), self.limit)
        left = limit

        async def receive_limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise StarletteHTTPException(413, f"the body has more than {limit} bytes")
            return message

        await self.app(scope, receive_limited, send)


def answer_adline_error(request: Request, error: Exception) -> JSONResponse:
    """What does not answer now may answer later; who may not sign in is told so; anything else is our fault."""
    if isinstance(error, SignInRefused):
        return problem(401, "not signed in", str(error))
    if isinstance(error, SignInLimited):
        return problem(429, "too many tries", str(error), {"Retry-After": str(error.wait_seconds)})
    if isinstance(error, ReviewStale):
        return problem(409, "the review has moved on", str(error), given=error.given, current=error.current)
    if isinstance(error, TrainingEnded):
        return problem(409, "the run has ended", str(error))
    if isinstance(error, DatabaseUnavailable | StreamUnavailable | DiskFull):
        return problem(503, "a service does not answer", str(error))
    if isinstance(error, NotOnRecord | ImageMissing):
        return problem(404, "there is none", str(error))
    if isinstance(error, ResolutionRefused | PasswordRefused | ModelError):
        return problem(422, "cannot be done", str(error))
    return problem(500, type(error).__name__, str(error))


def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    if error.status_code == 401 and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        return RedirectResponse(f"{SIGN_IN}?next={quote(wanted, safe='')}", 303)
    return problem(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail), error.headers)


def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Each place that is wrong, in words; what was sent is not sent back."""
    assert isinstance(error, RequestValidationError)
    places = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    return problem(422, "not as described", "; ".join(places))


def answer_unforeseen(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(500, type(error).__name__, "unforeseen; the line's log says more")


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything is started, so that a busy one is told at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServiceFailed(f"server.host {host!r} is no address of this machine: {error.strerror}") from error
    listening = socket.socket(family, kind, protocol)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError as error:
            raise ServiceFailed(
                f"server.port {port} on {host} cannot be used: {error.strerror}; "
                "end what uses it or choose another (--port, ADLINE_SERVER__PORT)"
            ) from error
        yield listening


@contextmanager
def serve(up: ServedLine, listening: socket.socket) -> Iterator[None]:
    """Answer on the port in a thread until the block ends."""
    proxies = list(up.settings.server.trusted_proxies)
    config = uvicorn.Config(
        web_app(up),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        server_header=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="web", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
