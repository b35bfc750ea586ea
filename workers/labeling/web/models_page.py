"""Model versions and their deployments: engineers see them, deploy and roll back; auditors see them."""

from __future__ import annotations

from typing import Final

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from workers.labeling.web.frame import frame, visitor_of

DEPLOYERS: Final = ("engineer", "admin")
"""For whom the buttons are shown; the API refuses everybody else, whatever their page shows."""


class ModelsView(Element, component="static/models.js"):
    """Versions, requests and history; see static/models.js."""


def models_page(line: str) -> None:
    @ui.page("/models")
    def show(request: Request) -> None:
        visitor = visitor_of(request)
        with frame(visitor, line, "models"):
            view = ModelsView()
            view.props["words"] = dict(visitor.words)
            view.props["deploys"] = visitor.role in DEPLOYERS
