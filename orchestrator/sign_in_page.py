"""The page to sign in on: plain HTML in English and Korean, that needs no script and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Annotated, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from orchestrator.doorkeeper import Doorkeeper
from orchestrator.person import Person, asking, needs
from orchestrator.session import admit, hand_over, take_back
from storage.errors import SignInLimited, SignInRefused

PATH = "/sign-in"
PASSWORD = "/password"
STYLE: Final = (
    ":root{color-scheme:light dark}body{font:1.125rem/1.5 system-ui,sans-serif;max-width:22rem;margin:10vh auto;"
    "padding:0 1rem}label{display:block;margin-top:1rem}input,button{font:inherit;box-sizing:border-box;width:100%;"
    "padding:.6rem;min-height:3rem}button{margin-top:1.5rem}"
    "[role=alert]{border-left:.3rem solid #c00;padding-left:.7rem}"
)
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Words(NamedTuple):
    """What the page says in one language."""

    language: str
    title: str
    name: str
    password: str
    enter: str
    leave: str
    refused: str
    limited: str
    signed_in: str
    demo: str
    change: str


LANGUAGES = {
    "en": Words(
        language="en",
        title="Sign in",
        name="Name",
        password="Password",
        enter="Sign in",
        leave="Sign out",
        refused="The name or the password is wrong.",
        limited="There were too many tries. Try again in {seconds} seconds.",
        signed_in="You are signed in as {name} ({role}).",
        demo="The demo line on this machine signs in by itself.",
        change="Change the password",
    ),
    "ko": Words(
        language="ko",
        title="로그인",
        name="이름",
        password="비밀번호",
        enter="로그인",
        leave="로그아웃",
        refused="이름 또는 비밀번호가 올바르지 않습니다.",
        limited="시도 횟수가 너무 많습니다. {seconds}초 후에 다시 시도하세요.",
        signed_in="{name}({role}) 님으로 로그인되어 있습니다.",
        demo="이 컴퓨터의 데모 라인은 자동으로 로그인됩니다.",
        change="비밀번호 변경",
    ),
}


def add_sign_in_page(app: FastAPI, doorkeeper: Doorkeeper) -> None:
    anybody = [Depends(needs("anybody"))]

    @app.get(PATH, include_in_schema=False, dependencies=anybody)
    def show(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
        """The form; whoever is signed in may leave."""
        words = spoken(request.headers.get("accept-language", ""))
        person = asking(request)
        return page(words, leaving(words, person) if person else entering(words, within(next)))

    @app.post(PATH, include_in_schema=False, dependencies=anybody)
    def enter(request: Request, given: Annotated[dict[str, str], Depends(form)]) -> Response:
        """Sign in and go where one wanted to; or say what is wrong."""
        words = spoken(request.headers.get("accept-language", ""))
        name, target = given.get("name", ""), within(given.get("next", "/"))
        try:
            admission = admit(doorkeeper, request, name, given.get("password", ""))
        except SignInRefused:
            return page(words, entering(words, target, name, words.refused), 401)
        except SignInLimited as error:
            alert = words.limited.format(seconds=error.wait_seconds)
            headers = {"Retry-After": str(error.wait_seconds)}
            return page(words, entering(words, target, name, alert), 429, headers)
        response = RedirectResponse(target, 303)
        hand_over(doorkeeper, request, response, admission)
        return response

    @app.post("/sign-out", include_in_schema=False, dependencies=anybody)
    def leave(request: Request) -> Response:
        response = RedirectResponse(PATH, 303)
        take_back(doorkeeper, request, response)
        return response


async def form(request: Request) -> dict[str, str]:
    """The fields of the form that was sent, of each the first."""
    try:
        fields = parse_qs((await request.body()).decode(), strict_parsing=False, max_num_fields=10)
    except ValueError as error:
        raise HTTPException(400, "this is no form") from error
    return {name: values[0] for name, values in fields.items()}


def within(target: str) -> str:
    """Where to go afterwards: a path of this site, else its start."""
    # Browsers take \ for / and drop tabs and line breaks: both could hide the // before another site's name.
    is_path = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    try:
        return target if is_path and not urlsplit(target).netloc else "/"
    except ValueError:
        return "/"


def spoken(accepted: str) -> Words:
    """The language the browser asks for most, of those there are."""
    wishes: list[tuple[float, int, str]] = []
    for wish in accepted.split(","):
        tag, _, quality = wish.strip().partition(";q=")
        weight = float(quality) if quality.replace(".", "", 1).isdigit() else 1.0
        wishes.append((-weight, len(wishes), tag.partition("-")[0].casefold()))
    found = (LANGUAGES[language] for _, _, language in sorted(wishes) if language in LANGUAGES)
    return next(found, LANGUAGES["en"])


def entering(words: Words, target: str, name: str = "", alert: str = "") -> str:
    told = f'<p role="alert" id="alert">{escape(alert)}</p>' if alert else ""
    described = ' aria-describedby="alert" aria-invalid="true"' if alert else ""
    first, second = ("", " autofocus") if name else (" autofocus", "")
    return f"""<h1>{words.title}</h1>{told}
<form method="post" action="{PATH}">
<input type="hidden" name="next" value="{escape(target)}">
<label for="name">{words.name}</label>
<input id="name" name="name" value="{escape(name)}" autocomplete="username" autocapitalize="none" spellcheck="false"
 maxlength="200" required{described}{first}>
<label for="password">{words.password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024"
 required{described}{second}>
<button>{words.enter}</button>
</form>"""


def leaving(words: Words, person: Person) -> str:
    if person.way == "demo":
        return f"<h1>{words.title}</h1><p>{words.demo}</p>"
    told = words.signed_in.format(name=person.name, role=person.role)
    return f"""<h1>{words.title}</h1><p>{escape(told)}</p><p><a href="{PASSWORD}">{words.change}</a></p>
<form method="post" action="/sign-out"><button>{words.leave}</button></form>"""


def page(words: Words, body: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    whole = f"""<!doctype html>
<html lang="{words.language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{words.title} · adline</title><style>{STYLE}</style></head>
<body><main>{body}</main></body>
</html>"""
    return HTMLResponse(whole, status, {"Content-Security-Policy": POLICY, **(headers or {})})
