"""Users, their passwords' hashes and their API tokens. Functions take a session and never commit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.orm import Session

from storage.errors import LastAdmin, TokenUnknown, UserExists, UserNameRefused, UserUnknown
from storage.people_rows import ApiToken, Password, PeopleEvent, PeopleFact, Role, SignIn, User

NAME = re.compile(r"\w[\w.@+-]{0,63}")
RESERVED = ("console", "demo")
"""Who `adline` itself calls those that are no users."""
TOKEN_USED = timedelta(minutes=1)  # how exactly it is known when a token was last used


def user_name(given: str) -> str:
    """The name in the one form it is kept in, however it was typed; UserNameRefused when it can be none."""
    name = unicodedata.normalize("NFKC", given).casefold().strip()
    if not NAME.fullmatch(name) or name in RESERVED:
        raise UserNameRefused(given)
    return name


def note(
    session: Session, what: PeopleFact, about: str | None, by: str, detail: str = "", address: str | None = None
) -> None:
    """Write down what happened; about: a user's name, or None when nobody has the name that was given."""
    session.add(PeopleEvent(what=what, user_name=about, done_by=by, detail=detail, address=address))


def note_refused(session: Session, about: str | None, by: str, address: str, detail: str) -> None:
    """Write down what was refused, unless the same was within the last minute: who asks again and again fills no table.

    One at a time for each who asks, so that many at once are one row, too.
    """
    facts = {"about": about, "by": by, "address": address, "detail": detail}
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('refused'), hashtext(:by))"), {"by": by})
    session.execute(NOTE_REFUSED, facts)


def find(session: Session, name: str) -> User | None:
    """The user of this name, unless removed."""
    return session.scalar(select(User).where(User.name == name, User.removed_at.is_(None)))


def require(session: Session, name: str) -> User:
    if user := find(session, name):
        return user
    raise UserUnknown(name)


def listed(session: Session) -> list[dict[str, Any]]:
    """Every user, with when each signed in last, and how many tokens are in use."""
    return [dict(row) for row in session.execute(LISTED).mappings()]


def add(session: Session, name: str, role: Role, by: str, password_hash: str | None) -> None:
    """A new user, or one that was removed and is back; without a password only tokens let it in."""
    change_users(session)
    user = session.get(User, name)
    if user is None:
        session.add(User(name=name, role=role))
        session.flush()
    elif user.removed_at is None:
        raise UserExists(name)
    else:
        user.role, user.removed_at = role, None
    note(session, PeopleFact.USER_ADDED, name, by, role)
    if password_hash:
        session.add(Password(user_name=name, hash=password_hash))


def change_role(session: Session, name: str, role: Role, by: str) -> None:
    """Give another role; whoever is signed in has to sign in again."""
    change_users(session)
    user = require(session, name)
    if role is not Role.ADMIN:
        leave_an_admin(session, user)
    note(session, PeopleFact.ROLE_CHANGED, name, by, f"{user.role} to {role}")
    user.role = role
    end_sessions(session, name)


def change_password(session: Session, name: str, password_hash: str, by: str) -> None:
    """Set another password; whoever is signed in has to sign in again."""
    require(session, name)
    session.merge(Password(user_name=name, hash=password_hash, changed_at=func.now()))
    note(session, PeopleFact.PASSWORD_CHANGED, name, by)
    end_sessions(session, name)


def remove(session: Session, name: str, by: str) -> None:
    """Let the user in no more, by no way; the records go on naming it."""
    change_users(session)
    user = require(session, name)
    leave_an_admin(session, user)
    user.removed_at = func.now()
    end_sessions(session, name)
    session.execute(update(ApiToken).where(ApiToken.user_name == name, in_use()).values(revoked_at=func.now()))
    if password := session.get(Password, name):
        session.delete(password)
    note(session, PeopleFact.USER_REMOVED, name, by)


def has_admin(session: Session) -> bool:
    change_users(session)
    return bool(admins(session))


def admins(session: Session) -> Sequence[str]:
    return session.scalars(select(User.name).where(User.role == Role.ADMIN, User.removed_at.is_(None))).all()


def leave_an_admin(session: Session, user: User) -> None:
    if list(admins(session)) == [user.name]:
        raise LastAdmin(user.name)


def change_users(session: Session) -> None:
    """One at a time, or two admins could remove each other and leave none."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('users'))"))


def end_sessions(session: Session, name: str) -> None:
    ended = update(SignIn).where(SignIn.user_name == name, SignIn.ended_at.is_(None))
    session.execute(ended.values(ended_at=func.now()))


# Passwords


def password_hash(session: Session, name: str) -> str | None:
    """The hash of a user that is there and has a password."""
    found = select(Password.hash).join(User, User.name == Password.user_name)
    return session.scalar(found.where(User.name == name, User.removed_at.is_(None)))


def rehash(session: Session, name: str, old: str, new: str) -> None:
    """The same password under newer parameters, unless it was changed meanwhile."""
    session.execute(update(Password).where(Password.user_name == name, Password.hash == old).values(hash=new))


# API tokens


def in_use() -> ColumnElement[bool]:
    return ApiToken.revoked_at.is_(None) & or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > func.now())


def add_token(
    session: Session, name: str, token_sha256: str, label: str, by: str, lasts: timedelta | None = None
) -> int:
    """Let whoever knows the token do what the user may; its number."""
    require(session, name)
    expires_at = func.now() + lasts if lasts else None
    token = ApiToken(token_sha256=token_sha256, user_name=name, label=label, expires_at=expires_at)
    session.add(token)
    session.flush()
    note(session, PeopleFact.TOKEN_ADDED, name, by, f"token {token.id}: {label}")
    return token.id


def revoke_token(session: Session, number: int, by: str) -> None:
    revoked = update(ApiToken).where(ApiToken.id == number, in_use()).values(revoked_at=func.now())
    name = session.scalar(revoked.returning(ApiToken.user_name))
    if name is None:
        raise TokenUnknown(number)
    note(session, PeopleFact.TOKEN_REVOKED, name, by, f"token {number}")


def tokens(session: Session) -> list[dict[str, Any]]:
    """The tokens in use, without what is secret of them."""
    columns = (ApiToken.id, ApiToken.user_name, ApiToken.label, ApiToken.created_at, ApiToken.expires_at)
    found = select(*columns, ApiToken.used_at).where(in_use()).order_by(ApiToken.id)
    return [dict(row) for row in session.execute(found).mappings()]


def token_user(session: Session, token_sha256: str) -> User | None:
    """Whose token this is, if it is in use."""
    usable = (ApiToken.token_sha256 == token_sha256) & in_use()
    stale = or_(ApiToken.used_at.is_(None), ApiToken.used_at < func.now() - TOKEN_USED)
    found = session.execute(select(User, stale).join(ApiToken).where(usable, User.removed_at.is_(None))).one_or_none()
    if found is None:
        return None
    user, is_stale = found
    if is_stale:
        session.execute(update(ApiToken).where(usable, stale).values(used_at=func.now()))
    return user


NOTE_REFUSED = text(
    """
    INSERT INTO people_events (what, user_name, done_by, address, detail)
    SELECT 'refused', CAST(:about AS varchar), :by, :address, :detail WHERE NOT EXISTS (
        SELECT FROM people_events WHERE happened_at > clock_timestamp() - interval '1 minute'
            AND what = 'refused' AND done_by = :by AND address = :address AND detail = :detail)
    """
)
LISTED = text(
    """
    SELECT u.name, u.role, u.created_at,
           (SELECT max(started_at) FROM sessions s WHERE s.user_name = u.name) AS signed_in_at,
           EXISTS (SELECT FROM passwords p WHERE p.user_name = u.name) AS has_password,
           (SELECT count(*) FROM api_tokens t WHERE t.user_name = u.name AND t.revoked_at IS NULL
                AND (t.expires_at IS NULL OR t.expires_at > now())) AS tokens
    FROM users u WHERE u.removed_at IS NULL ORDER BY u.name
    """
)
