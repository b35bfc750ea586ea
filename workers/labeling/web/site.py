"""The site: its pages, its scripts and styles, its words."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.staticfiles import StaticFiles

from workers.labeling.web.line_page import line_page
from workers.labeling.web.models_page import models_page
from workers.labeling.web.part_page import part_page
from workers.labeling.web.queue_page import queue_page

STATIC: Final = Path(__file__).with_name("static")
RECONNECT_SECONDS: Final = 5.0


def site(database_url: str, line: str) -> FastAPI:
    """The application that the pages' worker serves."""
    app = FastAPI(title="adline pages", docs_url=None, redoc_url=None, openapi_url=None)
    nicegui_app.mount("/pages", StaticFiles(directory=STATIC))
    nicegui_app.add_api_route("/", lambda: RedirectResponse("/queue"), include_in_schema=False)
    queue_page(line)
    line_page(line)
    models_page(line)
    part_page(line, database_url)
    ui.run_with(
        app,
        title="adline",
        favicon=STATIC / "icon.svg",
        dark=None,
        tailwind=False,
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    return app
