"""What is around every page: the bar with the way to the other pages, the language, the theme, who is signed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nicegui import ui
from starlette.requests import Request

from workers.labeling.web.words import COOKIE, WORDS, Words, language_of

PERSON_HEADER: Final = "x-adline-person"  # set by the line's web port, which is the only way here
WRITERS: Final = ("operator", "engineer", "admin")
MODEL_READERS: Final = ("engineer", "auditor", "admin")  # the web port refuses the page to everybody else
THEME_COOKIE: Final = "adline_theme"
THEMES: Final = {"light": False, "dark": True}


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page, and how they want it."""

    name: str
    role: str
    way: str
    language: str
    theme: bool | None
    """Whether dark; None is as the browser has it."""

    @property
    def decides(self) -> bool:
        return self.role in WRITERS

    @property
    def pages(self) -> tuple[str, ...]:
        """The pages that are for them."""
        return ("queue", "line", "models") if self.role in MODEL_READERS else ("queue", "line")

    @property
    def words(self) -> Words:
        words: Words = WORDS[self.language]
        return words


def visitor_of(request: Request) -> Visitor:
    person = json.loads(request.headers[PERSON_HEADER])
    theme = THEMES.get(request.cookies.get(THEME_COOKIE, ""))
    return Visitor(person["name"], person["role"], person["way"], language_of(request), theme)


@contextmanager
def frame(visitor: Visitor, line: str, page: str) -> Iterator[None]:
    """The page's own content goes into the block."""
    words = visitor.words
    ui.add_head_html('<link rel="stylesheet" href="/pages/style.css">')
    ui.add_head_html(f"<script>{told_when_away(words)}</script>")
    ui.page_title(f"{words[page]} · {line} · adline")
    ui.dark_mode(visitor.theme)
    with ui.element("header").classes("bar"):
        ui.label(line).classes("bar-line")
        for name in visitor.pages:
            link = ui.link(words[name], f"/{name}").classes("bar-page")
            if name == page:
                link.props("aria-current=page")
        ui.element("div").props("id=bar-status aria-live=polite").classes("bar-status")
        said = words["demo"] if visitor.way == "demo" else words["signed_in"].format(**vars(visitor))
        ui.link(said, "/sign-in").classes("bar-person")
        other = next(language for language in WORDS if language != visitor.language)
        choice(words["language"], COOKIE, f"'{other}'").props(f"lang={other}")
        choice("◐", THEME_COOKIE, "document.body.classList.contains('body--dark') ? 'light' : 'dark'").props(
            f'aria-label="{words["theme"]}"'
        )
    with ui.element("main").classes(f"page page-{page}"):
        yield


def told_when_away(words: Words) -> str:
    """NiceGUI says so in English: in the page's language instead."""
    said = json.dumps([words["reconnecting"], words["reconnecting_more"]])
    return (
        "addEventListener('DOMContentLoaded', () => document.querySelectorAll('#popup span')"
        f".forEach((place, i) => place.textContent = {said}[i]))"
    )


def choice(text: str, cookie: str, value: str) -> ui.element:
    """A button that remembers a choice in this browser and shows the page anew."""
    remember = (
        f"() => {{ document.cookie = '{cookie}=' + ({value}) + '; path=/; max-age=31536000; samesite=lax'; "
        "location.reload(); }"
    )
    with ui.element("button").classes("bar-choice").on("click", js_handler=remember) as button:
        ui.label(text)
    return button
