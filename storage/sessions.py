"""Sign-ins of browsers. Functions take a session and never commit; tokens come as their SHA-256."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.people_rows import SignIn, User

SEEN_SHARE = 20  # a use is written down when a twentieth of the idle time has passed: reading does not write each time


def begin(session: Session, token_sha256: str, user: str, device_sha256: str, address: str) -> None:
    session.add(SignIn(token_sha256=token_sha256, user_name=user, device_sha256=device_sha256, address=address))
    session.flush()


def user_of(session: Session, token_sha256: str, idle: timedelta, longest: timedelta) -> User | None:
    """Who is signed in under this token; None when nobody is any more."""
    found = session.execute(
        select(User, (SignIn.seen_at < func.now() - idle / SEEN_SHARE).label("unseen"))
        .join(SignIn, SignIn.user_name == User.name)
        .where(SignIn.token_sha256 == token_sha256, SignIn.ended_at.is_(None), User.removed_at.is_(None))
        .where(SignIn.seen_at > func.now() - idle, SignIn.started_at > func.now() - longest)
    ).first()
    if found is None:
        return None
    if found.unseen:
        session.execute(update(SignIn).where(SignIn.token_sha256 == token_sha256).values(seen_at=func.now()))
    user: User = found.User
    return user


def end(session: Session, token_sha256: str) -> str | None:
    """Sign out; who that was, or None when nobody was signed in."""
    ended = update(SignIn).where(SignIn.token_sha256 == token_sha256, SignIn.ended_at.is_(None))
    return session.scalar(ended.values(ended_at=func.now()).returning(SignIn.user_name))


def knows_device(session: Session, user: str, device_sha256: str) -> bool:
    """Whether this user has signed in from this browser before."""
    found = select(SignIn.token_sha256).where(SignIn.user_name == user, SignIn.device_sha256 == device_sha256)
    return session.scalar(found.limit(1)) is not None
