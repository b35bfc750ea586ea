"""Who is let in: finds out who asks, signs people in and out."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import HTTPConnection

from orchestrator.password import Passwords, check_password
from orchestrator.person import Person, Way
from orchestrator.settings import Settings
from storage import people, sessions, tries
from storage.database import Database
from storage.errors import DatabaseUnavailable, SignInLimited, SignInRefused, UserNameRefused
from storage.people_rows import PeopleFact, Role, User

logger = logging.getLogger(__name__)

LONGEST_REFUSAL = 500
DEMO = Person("demo", Role.ADMIN, "demo")
CONSOLE = Person("console", Role.ADMIN, "console")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
FREE_TRIES = {"device": 5, "account": 5, "address": 20}
"""Wrong passwords before there is a wait: from a browser the user has signed in from before; from any other; from one
address for whatever names. A known browser is counted by itself, so that a stranger cannot keep its user out."""


@dataclass(frozen=True)
class Admission:
    """A sign-in that was granted, with what the browser is to show from now on."""

    person: Person
    token: str
    device: str


class Doorkeeper:
    """Knows people by a session's cookie, programs by a token, `adline` in a terminal by the secret of this run."""

    def __init__(self, database: Database, settings: Settings, *, console_token: str, is_demo: bool) -> None:
        self.database, self.settings, self.console_token = database, settings, console_token
        self.lets_demo_in = signs_in_by_itself(settings, is_demo)
        self.passwords = Passwords()
        self.idle = timedelta(minutes=settings.people.session_idle_minutes)
        self.longest = timedelta(hours=settings.people.session_hours)

    def person(self, connection: HTTPConnection) -> Person | None:
        """Who asks. A token that is wrong is nobody's, whatever else was sent along."""
        token = bearer(connection)
        if token is not None:
            return self.of_token(token)
        if cookie := connection.cookies.get(self.cookie(connection, "session")):
            with self.database.begin() as session:
                user = sessions.user_of(session, digest(cookie), self.idle, self.longest)
            if user:
                return known(user, "session")
        return DEMO if self.lets_demo_in and is_at_this_machine(connection) else None

    def of_token(self, token: str) -> Person | None:
        if hmac.compare_digest(token.encode(), self.console_token.encode()):
            return CONSOLE
        with self.database.begin() as session:
            user = people.token_user(session, digest(token))
        return known(user, "token") if user else None

    def cookie(self, connection: HTTPConnection, what: str) -> str:
        """A cookie's name: cookies do not know ports, and there may be two lines on one machine."""
        prefix = "__Host-" if connection.url.scheme == "https" else ""
        return f"{prefix}adline_{what}_{self.settings.server.port}"

    def sign_in(self, name: str, password: str, address: str, device: str) -> Admission:
        """Let in who knows the password; else SignInRefused, or SignInLimited after too many tries.

        device: what this browser was given at its last sign-in, or whatever it says.
        """
        try:
            name = people.user_name(name)
        except UserNameRefused:
            name = ""  # nobody's: refused as any other name that nobody has
        hash = self.heard(name, address, device)
        if not self.passwords.verify(hash, password) or hash is None:
            self.note_refusal(PeopleFact.SIGN_IN_REFUSED, name, address)
            raise SignInRefused
        admission = self.admitted(name, password, hash, address, device)
        if admission is None:
            raise SignInRefused
        return admission

    def heard(self, name: str, address: str, device: str) -> str | None:
        """Count the try, and return what the password is held against; SignInLimited when it comes too early."""
        # Counted before the password is looked at: a hundred tries at once are a hundred tries.
        with self.database.begin() as session:
            free = self.limits(sessions.knows_device(session, name, digest(device)), name, address, device)
            wait_seconds = tries.take(session, free)
            is_news = bool(wait_seconds) and tries.first_refusal(session, free)
            hash = people.password_hash(session, name)
        if is_news:
            self.note_refusal(PeopleFact.SIGN_IN_LIMITED, name, address)
        if wait_seconds:
            raise SignInLimited(wait_seconds)
        return hash

    def limits(self, is_known: bool, name: str, address: str, device: str) -> dict[str, int]:
        if is_known:
            return {tries.key("device", name, digest(device)): FREE_TRIES["device"]}
        return {
            tries.key("account", name): FREE_TRIES["account"],
            tries.key("address", address): FREE_TRIES["address"],
        }

    def admitted(self, name: str, password: str, hash: str, address: str, device: str) -> Admission | None:
        """Begin a session; None when the password was changed or the user removed while it was verified."""
        token = secrets.token_urlsafe(32)
        with self.database.begin() as session:
            user = people.find(session, name)
            if user is None or people.password_hash(session, name) != hash:
                return None
            if not sessions.knows_device(session, name, digest(device)):
                device = secrets.token_urlsafe(32)
            sessions.begin(session, digest(token), name, digest(device), address)
            people.note(session, PeopleFact.SIGNED_IN, name, name, address=address)
            mine = (tries.key("account", name), tries.key("device", name, digest(device)))
            tries.settle(session, mine, shared=tries.key("address", address))
            if self.passwords.is_outdated(hash):
                people.rehash(session, name, hash, self.passwords.hash(password))
        return Admission(known(user, "session"), token, device)

    def note_refusal(self, what: PeopleFact, name: str, address: str) -> None:
        # A name that nobody has is not kept: it may be a password, typed into the wrong field.
        with self.database.begin() as session:
            user = people.find(session, name)
            people.note(session, what, user.name if user else None, "nobody", address=address)

    def note_refused(self, person: Person, connection: HTTPConnection, what: str) -> None:
        """For the auditor: who asked for what and was refused. While the database is away, the log has it alone."""
        logger.warning("refused to %s: %s", person, what)
        about = person.name if person.way in ("session", "token") else None
        with suppress(DatabaseUnavailable), self.database.begin() as session:
            people.note_refused(session, about, person.name, address_of(connection), what[:LONGEST_REFUSAL])

    def change_password(self, person: Person, password: str, wanted: str, connection: HTTPConnection) -> Admission:
        """Another password for who knows the one there is; every other sign-in ends, and this browser begins anew.

        SignInRefused when the first is not theirs, PasswordRefused when the second is too easily guessed.
        """
        if person.way not in ("session", "token"):
            raise SignInRefused(f"{person.name} has no password here; `adline user passwd` gives one to a user")
        # First, so that a wish that is refused is no try to guess the password.
        check_password(wanted, self.settings.people.password_minimum_characters, person.name, self.settings.line.name)
        device = connection.cookies.get(self.cookie(connection, "device"), "")
        address = address_of(connection)
        hash = self.heard(person.name, address, device)
        if not self.passwords.verify(hash, password) or hash is None:
            self.note_refusal(PeopleFact.SIGN_IN_REFUSED, person.name, address)
            raise SignInRefused("the password you have now is another one")
        new = self.passwords.hash(wanted)
        with self.database.begin() as session:
            people.change_password(session, person.name, new, person.name)
        admission = self.admitted(person.name, wanted, new, address, device)
        if admission is None:
            raise SignInRefused
        return admission

    def sign_out(self, connection: HTTPConnection) -> None:
        """End the session of this browser, if there is one."""
        if cookie := connection.cookies.get(self.cookie(connection, "session")):
            with self.database.begin() as session:
                if name := sessions.end(session, digest(cookie)):
                    people.note(session, PeopleFact.SIGNED_OUT, name, name, address=address_of(connection))


def signs_in_by_itself(settings: Settings, is_demo: bool) -> bool:
    """Whether whoever is at this machine need not sign in: on the demo line alone, while it listens here alone."""
    return is_demo and is_loopback(settings.server.host)


def is_at_this_machine(connection: HTTPConnection) -> bool:
    """Whether a browser on this machine asks, with nothing in between; a name for this machine must be its own."""
    host = host_name(connection.headers.get("host", ""))
    forwarded = any(header in connection.headers for header in FORWARDED)
    return host in LOOPBACK_NAMES and not forwarded and is_loopback(address_of(connection))


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).casefold().rstrip(".")


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"


def bearer(connection: HTTPConnection) -> str | None:
    """The token a program shows; None when it shows none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.casefold() == "bearer" else None


def digest(token: str) -> str:
    """What is kept of a token. A plain hash will do: it is 256 random bits, which nobody guesses."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def known(user: User, way: Way) -> Person:
    return Person(user.name, Role(user.role), way)
