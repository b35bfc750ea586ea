"""The queue: an operator decides part after part. What happens on it happens in the browser, by way of the API."""

from __future__ import annotations

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from workers.labeling.web.frame import frame, visitor_of


class Desk(Element, component="static/queue.js"):
    """The operator's desk; see static/queue.js."""


def queue_page(line: str) -> None:
    @ui.page("/queue")
    def show(request: Request) -> None:
        visitor = visitor_of(request)
        with frame(visitor, line, "queue"):
            desk = Desk()
            desk.props["words"] = dict(visitor.words)
            desk.props["decides"] = visitor.decides
