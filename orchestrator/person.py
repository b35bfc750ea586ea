"""Who asks, and what each role may do: the one table of permissions, and the dependency that every route declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, cast

from fastapi import Depends, HTTPException
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from storage.people_rows import Role

Level = Literal["anybody", "signed-in", "operator", "engineer", "admin"]
"""What a route asks for; "anybody" need not have signed in."""
Way = Literal["session", "token", "console", "demo"]
READING = ("GET", "HEAD", "OPTIONS")
BEARER = HTTPBearer(auto_error=False, description="A token of `adline user token add`; or a cookie, after signing in.")
"""For OpenAPI: how a program shows who it is. What is shown is looked at by the doorkeeper."""


class May(NamedTuple):
    """The levels at which a role may read, and at which it may change anything."""

    read: frozenset[Level]
    write: frozenset[Level]


def may(*levels: Level) -> frozenset[Level]:
    return frozenset({"anybody", "signed-in", *levels})


PERMISSIONS = {
    Role.OPERATOR: May(read=may("operator"), write=may("operator")),
    Role.ENGINEER: May(read=may("operator", "engineer"), write=may("operator", "engineer")),
    Role.AUDITOR: May(read=may("operator", "engineer", "admin"), write=may()),
    Role.ADMIN: May(read=may("operator", "engineer", "admin"), write=may("operator", "engineer", "admin")),
}


@dataclass(frozen=True)
class Person:
    """Who asks; `way` is how that is known: a sign-in, an API token, `adline` in a terminal, or the demo line."""

    name: str
    role: Role
    way: Way


def asking(connection: HTTPConnection) -> Person | None:
    """Who asks; None when nobody has signed in."""
    state = connection.state
    if not hasattr(state, "person"):
        state.person = state.doorkeeper.person(connection)
    return cast("Person | None", state.person)


def person(connection: HTTPConnection) -> Person:
    """Who asks; 401 when nobody has signed in."""
    found = asking(connection)
    if found is None:
        raise HTTPException(401, "sign in, or send an API token", {"WWW-Authenticate": 'Bearer realm="adline"'})
    return found


class Needs:
    """A dependency that says whom a route is for, and by itself lets everybody pass."""

    def __init__(self, level: Level) -> None:
        self.level = level

    def __call__(self, connection: HTTPConnection) -> Person | None:
        return None

    def permits(self, role: Role, method: str) -> bool:
        permissions = PERMISSIONS[role]
        return self.level in (permissions.read if method in READING else permissions.write)


class NeedsPerson(Needs):
    """A dependency that lets pass who has signed in and may do this; it is that person."""

    def __call__(self, connection: HTTPConnection, _: Annotated[object, Depends(BEARER)] = None) -> Person:
        # The path as the route has it: what was filled in is anybody's, and would make each try another row.
        return self.admit(connection, getattr(connection.scope.get("route"), "path", "?"))

    def admit(self, connection: HTTPConnection, path: str) -> Person:
        """Who asks; 401 when nobody has signed in, 403, and on record, when it is not for them."""
        found = person(connection)
        if not self.permits(found.role, connection.scope.get("method", "")):
            what = f"{connection.scope.get('method')} {path}: needs {self.level}, is {found.role}"
            connection.state.doorkeeper.note_refused(found, connection, what)
            raise HTTPException(403, f"{found.name} is {found.role}; this needs another role: {self.level}")
        return found


def needs(level: Level) -> Needs:
    """The dependency for a route: `Depends(needs("operator"))`. Auditors may read it in any case, and never write."""
    return Needs(level) if level == "anybody" else NeedsPerson(level)


def declared(route: BaseRoute) -> Needs | None:
    """What the route asks for; None when it does not say."""
    if not isinstance(route, APIRoute):
        return None
    found = [inner.call for inner in route.dependant.dependencies if isinstance(inner.call, Needs)]
    return found[0] if found else None


def undeclared(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Routes of the API that do not say who may use them."""
    return (route.path for route in routes if isinstance(route, APIRoute) and declared(route) is None)
