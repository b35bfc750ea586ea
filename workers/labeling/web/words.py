"""What the pages say, in each language; every language has the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.requests import HTTPConnection

FOLDER: Final = Path(__file__).with_name("words")
WORDS: Final = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}
ENGLISH: Final = "en"
COOKIE: Final = "adline_language"

Words = Mapping[str, str]


def language_of(connection: HTTPConnection) -> str:
    """What was chosen on a page, else what the browser asks for first among those there are."""
    chosen = connection.cookies.get(COOKIE, "")
    accepted = connection.headers.get("accept-language", "")
    wishes = (wish.partition(";")[0].strip().partition("-")[0].casefold() for wish in accepted.split(","))
    return next((wish for wish in (chosen, *wishes) if wish in WORDS), ENGLISH)
