"""The line, as it runs: for a screen on the wall and for a phone in the pocket. Nothing can be changed here."""

from __future__ import annotations

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from workers.labeling.web.frame import frame, visitor_of


class LineView(Element, component="static/line.js"):
    """The live line; see static/line.js."""


def line_page(line: str) -> None:
    @ui.page("/line")
    def show(request: Request) -> None:
        visitor = visitor_of(request)
        with frame(visitor, line, "line"):
            LineView().props["words"] = dict(visitor.words)
