"""Signing in and out: the API, and the cookies that go with it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from orchestrator.answer import answered_with
from orchestrator.doorkeeper import Admission, Doorkeeper, address_of
from orchestrator.person import Person, Way, needs
from orchestrator.person import person as asking_person
from storage.people_rows import Role

SignedIn = Annotated[Person, Depends(needs("signed-in"))]
DEVICE_SECONDS = 400 * 24 * 3600  # the longest a browser keeps a cookie
SAYS = {
    "demo": "the demo line on this machine signs in by itself; any other line, or address, asks for a password",
    "console": "`adline` in a terminal, by whoever may read the state folder",
    "token": "an API token",
    "session": "signed in with a password",
}
TAGS: list[str | Enum] = ["session"]
AWAY = answered_with(503, "The database does not answer; ask again.")
REFUSALS = {
    **answered_with(400, "The body cannot be read."),
    **answered_with(401, "No user has this name with this password."),
    **answered_with(403, "Sent by a page of another site."),
    **answered_with(413, "The body is too long."),
    **answered_with(422, "What was sent is not as described."),
    **answered_with(429, "Too many tries; Retry-After says when the next is heard."),
    **AWAY,
}


class SignInWords(BaseModel):
    """What a person types to sign in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    password: str = Field(min_length=1, max_length=1024)


class PasswordWords(BaseModel):
    """The password there is, and the one there is to be."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(min_length=1, max_length=1024)
    wanted: str = Field(min_length=1, max_length=1024)


class Me(BaseModel):
    """Who asks, what their role is, and how that is known."""

    name: str
    role: Role
    way: Way
    says: str


def add_session(app: FastAPI, doorkeeper: Doorkeeper) -> None:
    @app.get(
        "/api/v1/session",
        tags=TAGS,
        responses={**answered_with(401, "Nobody has signed in."), **AWAY},
        dependencies=[Depends(needs("signed-in"))],
    )
    def who_am_i(request: Request) -> Me:
        """Who asks."""
        return told(asking_person(request))

    @app.post("/api/v1/session", tags=TAGS, responses=REFUSALS, dependencies=[Depends(needs("anybody"))])
    def sign_in(request: Request, response: Response, words: SignInWords) -> Me:
        """Sign in; the session's cookie comes with the answer."""
        admission = admit(doorkeeper, request, words.name, words.password)
        hand_over(doorkeeper, request, response, admission)
        return told(admission.person)

    @app.put("/api/v1/session/password", tags=TAGS, responses=REFUSALS)
    def change_password(request: Request, response: Response, who: SignedIn, words: PasswordWords) -> Me:
        """Another password of one's own; every sign-in ends but this one, whose new cookie comes with the answer."""
        admission = doorkeeper.change_password(who, words.password, words.wanted, request)
        hand_over(doorkeeper, request, response, admission)
        return told(admission.person)

    @app.delete("/api/v1/session", tags=TAGS, status_code=204, responses=AWAY, dependencies=[Depends(needs("anybody"))])
    def sign_out(request: Request, response: Response) -> None:
        """Sign out; who was not signed in is not, either."""
        take_back(doorkeeper, request, response)


def told(person: Person) -> Me:
    return Me(name=person.name, role=person.role, way=person.way, says=SAYS[person.way])


def admit(doorkeeper: Doorkeeper, connection: HTTPConnection, name: str, password: str) -> Admission:
    device = connection.cookies.get(doorkeeper.cookie(connection, "device"), "")
    return doorkeeper.sign_in(name, password, address_of(connection), device)


def hand_over(doorkeeper: Doorkeeper, connection: HTTPConnection, response: Response, admission: Admission) -> None:
    """Give the browser its cookies: no script reads them, no other site's request to change something carries them."""
    secure = connection.url.scheme == "https"
    for what, value, seconds in (
        ("session", admission.token, None),
        ("device", admission.device, DEVICE_SECONDS),
    ):
        name = doorkeeper.cookie(connection, what)
        response.set_cookie(name, value, max_age=seconds, secure=secure, httponly=True, samesite="lax")


def take_back(doorkeeper: Doorkeeper, connection: HTTPConnection, response: Response) -> None:
    """End the session, on record and in the browser, which stays known as one its user has signed in from."""
    doorkeeper.sign_out(connection)
    secure = connection.url.scheme == "https"
    response.delete_cookie(doorkeeper.cookie(connection, "session"), secure=secure, httponly=True, samesite="lax")
