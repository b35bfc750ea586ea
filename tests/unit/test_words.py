"""What the pages say: the same in every language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from storage.events import ReviewReason
from storage.label_models import Decision, Severity
from storage.reviews import Policy
from workers.labeling.web import words
from workers.labeling.web.part_page import score
from workers.labeling.web.words import WORDS, language_of

STATIC = Path(words.__file__).with_name("static")
PAGES = Path(words.__file__).parent


def test_every_language_has_the_same_words_with_the_same_gaps() -> None:
    english = WORDS["en"]
    assert WORDS.keys() == {"en", "ko"}
    for language, said in WORDS.items():
        assert said.keys() == english.keys(), language
        assert all(said.values()), language
        assert {key: gaps(text) for key, text in said.items()} == {key: gaps(text) for key, text in english.items()}


def gaps(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_word_a_script_asks_for_is_there() -> None:
    asked = {
        word
        for file in STATIC.glob("*.js")
        for word in re.findall(r"\bwords\.(\w+)|\bwords\[\"(\w+)\"\]", file.read_text(encoding="utf-8"))
        for word in word
        if word
    }
    assert len(asked) > 20
    assert asked <= WORDS["en"].keys()


def test_everything_that_is_shown_by_its_value_has_a_word() -> None:
    shown = [*Decision, *(f"reason_{reason}" for reason in ReviewReason)]
    shown += [f"state_{state}" for state in ("starting", "running", "held", "degraded")]
    shown += [*(f"order_{policy}" for policy in Policy), *(f"severity_{severity}" for severity in Severity)]
    assert set(shown) <= WORDS["en"].keys()


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("", "de-DE, en;q=0.5", "en"),
        ("adline_language=ko", "en", "ko"),
        ("adline_language=../../etc", "ko", "ko"),
    ],
)
def test_the_language_is_what_was_chosen_else_what_the_browser_asks_for(
    cookie: str, accepted: str, language: str
) -> None:
    headers = [(b"cookie", cookie.encode()), (b"accept-language", accepted.encode())]
    assert language_of(HTTPConnection({"type": "http", "headers": headers})) == language


def test_scripts_and_styles_name_no_other_server() -> None:
    files = [file for kind in ("*.js", "*.css", "*.svg") for file in STATIC.glob(kind)]
    assert len(files) > 10
    for file in files:
        elsewhere = re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", file.read_text(encoding="utf-8"))
        assert elsewhere == [], file.name


def test_a_score_is_told_with_the_known_good_parts_below_it() -> None:
    view = {"anomaly_score": 0.4321, "percentile_of_good": 97.4}
    assert score(view, WORDS["en"]) == "0.432, above 97 % of known-good parts"
    assert score({**view, "percentile_of_good": None}, WORDS["en"]) == "0.432"
    assert score({"anomaly_score": None, "percentile_of_good": None}, WORDS["en"]) is None
