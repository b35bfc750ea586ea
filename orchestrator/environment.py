"""Settings from environment variables: ADLINE_SERVER__PORT is server.port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.origin import Draft, NoSuchEntry
from orchestrator.schema import dotted, place

PREFIX = "ADLINE_"
CONFIG = "ADLINE_CONFIG"
HOME = "ADLINE_HOME"
WELL_KNOWN = {"DATABASE_URL": ("database", "url"), "REDIS_URL": ("stream", "url")}


def variables(environ: Mapping[str, str]) -> Iterator[tuple[str, list[str], str]]:
    """Names, paths and texts; whole sections before their parts, so that the part wins."""
    for name, path in WELL_KNOWN.items():
        if environ.get(name):
            yield name, list(path), environ[name]
    # An empty variable is one that is not set: compose files pass `${PORT:-}` on like that.
    names = [name for name in environ if name.startswith(PREFIX) and environ[name] and name not in {CONFIG, HOME}]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        yield name, name.removeprefix(PREFIX).split("__"), environ[name]


def apply_environment(draft: Draft, environ: Mapping[str, str]) -> list[str]:
    """Put each variable into the draft; return what could not be read."""
    problems = []
    for name, segments, text in variables(environ):
        origin = f"environment {name}"
        try:
            draft.put(segments, read(draft, segments, text), origin)
        except NoSuchEntry as error:
            problems.append(f"{origin}: {error}")
        except json.JSONDecodeError as error:
            path = dotted(draft.spelled(segments))
            problems.append(f"{origin}: {path} is not valid JSON: {error.msg} (character {error.pos + 1})")
    return problems


def read(draft: Draft, segments: list[str], text: str) -> Any:
    """Lists and tables are written as JSON, `null` unsets; all else is the text itself."""
    node = place(draft.spelled(segments), draft.given).node or {}
    if text == "null" and node.get("nullable"):
        return None
    if node.get("type") != "string" and text.lstrip().startswith(("[", "{")):
        return json.loads(text)
    return text
