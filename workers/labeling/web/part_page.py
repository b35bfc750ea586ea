"""A part's whole life: images, predictions, verdict, reviews, and what people said, when, and how long it took."""

from __future__ import annotations

from nicegui import ui
from starlette.requests import Request

from workers.labeling.web.frame import frame, visitor_of


def part_page(line: str, database_url: str) -> None:
    @ui.page("/part/{name:path}")
    def show(request: Request, name: str) -> None:
        visitor = visitor_of(request)
        with frame(visitor, line, "part"):
            ui.label(name)
