"""The page on which people give themselves another password; like the sign-in page, plain HTML that fetches nothing."""

from __future__ import annotations

from html import escape
from typing import Annotated, NamedTuple

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.doorkeeper import Doorkeeper
from orchestrator.session import SignedIn, hand_over
from orchestrator.sign_in_page import PASSWORD, form, page, spoken
from orchestrator.sign_in_page import Words as SignInWords
from storage.errors import PasswordRefused, SignInLimited, SignInRefused


class Words(NamedTuple):
    """What the page says in one language."""

    now: str
    wanted: str
    rule: str
    save: str
    refused: str
    weak: str
    limited: str


LANGUAGES = {
    "en": Words(
        now="Password now",
        wanted="New password",
        rule="At least {characters} characters, of any kind; some words that have nothing to do with each other.",
        save="Change the password",
        refused="The password you have now is another one.",
        weak="The new password is too short, too long, or one of those that are guessed first.",
        limited="There were too many tries. Try again in {seconds} seconds.",
    ),
    "ko": Words(
        now="현재 비밀번호",
        wanted="새 비밀번호",
        rule="{characters}자 이상이어야 하며 종류는 자유입니다. 서로 관련 없는 단어 여러 개가 좋습니다.",
        save="비밀번호 변경",
        refused="현재 비밀번호가 올바르지 않습니다.",
        weak="새 비밀번호가 너무 짧거나 너무 길거나 쉽게 추측할 수 있습니다.",
        limited="시도 횟수가 너무 많습니다. {seconds}초 후에 다시 시도하세요.",
    ),
}


def add_password_page(app: FastAPI, doorkeeper: Doorkeeper) -> None:
    characters = doorkeeper.settings.people.password_minimum_characters

    def asked(request: Request, alert: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
        said, words = spoken_words(request)
        return page(said, asking(words, said.change, characters, alert), status, headers)

    @app.get(PASSWORD, include_in_schema=False)
    def show(request: Request, who: SignedIn) -> Response:
        """The form."""
        return asked(request)

    @app.post(PASSWORD, include_in_schema=False)
    def change(request: Request, who: SignedIn, given: Annotated[dict[str, str], Depends(form)]) -> Response:
        """Change it and go to the start; or say what is wrong."""
        _, words = spoken_words(request)
        try:
            password, wanted = given.get("password", ""), given.get("wanted", "")
            admission = doorkeeper.change_password(who, password, wanted, request)
        except PasswordRefused:
            return asked(request, words.weak, 422)
        except SignInRefused:
            return asked(request, words.refused, 401)
        except SignInLimited as error:
            headers = {"Retry-After": str(error.wait_seconds)}
            return asked(request, words.limited.format(seconds=error.wait_seconds), 429, headers)
        response = RedirectResponse("/", 303)
        hand_over(doorkeeper, request, response, admission)
        return response


def spoken_words(request: Request) -> tuple[SignInWords, Words]:
    said = spoken(request.headers.get("accept-language", ""))
    return said, LANGUAGES[said.language]


def asking(words: Words, title: str, characters: int, alert: str) -> str:
    told = f'<p role="alert" id="alert">{escape(alert)}</p>' if alert else ""
    return f"""<h1>{title}</h1>{told}
<form method="post" action="{PASSWORD}">
<label for="password">{words.now}</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024"
 required autofocus>
<label for="wanted">{words.wanted}</label>
<input id="wanted" name="wanted" type="password" autocomplete="new-password" minlength="{characters}" maxlength="256"
 aria-describedby="rule" required>
<p id="rule">{words.rule.format(characters=characters)}</p>
<button>{words.save}</button>
</form>"""
