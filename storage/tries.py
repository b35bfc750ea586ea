"""How often somebody may try to sign in. In Postgres, so that neither a restart nor an emptied Valkey forgets it.

Each key has some tries free; after them the wait doubles with every try, up to the longest one, and no further: nobody
is locked out for ever. A try that came too early is not counted, so that hammering does not prolong the wait.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta

from sqlalchemy import delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.people_rows import SignInTry

LONGEST_WAIT_SECONDS = 900
FORGET = timedelta(days=1)


def key(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def take(session: Session, free: Mapping[str, int]) -> int:
    """Count a try under each key and return 0, or the seconds to wait, and then nothing is counted.

    free: how many tries each key has before there is any wait. Whole and at once, however many try beside each other.
    """
    forget_old(session)
    keys = sorted(free)
    fresh = [{"key": one, "tries": 0, "tried_at": func.now()} for one in keys]
    session.execute(insert(SignInTry).values(fresh).on_conflict_do_nothing())
    waits = [wait_seconds(count - free[one]) - elapsed for one, count, elapsed in held(session, keys)]
    if max(waits) > 0:
        return math.ceil(max(waits))
    counted = {"tries": SignInTry.tries + 1, "tried_at": func.clock_timestamp()}
    session.execute(update(SignInTry).where(SignInTry.key.in_(keys)).values(counted))
    return 0


def held(session: Session, keys: Iterable[str]) -> list[tuple[str, int, float]]:
    """Key, tries, and seconds since the last; held to the transaction's end, in one order: nobody waits in a circle."""
    elapsed = func.extract("epoch", func.clock_timestamp() - SignInTry.tried_at)
    found = select(SignInTry.key, SignInTry.tries, elapsed.label("elapsed")).where(SignInTry.key.in_(list(keys)))
    rows = session.execute(found.order_by(SignInTry.key).with_for_update()).all()
    return [(row.key, row.tries, float(row.elapsed)) for row in rows]


def wait_seconds(beyond: int) -> int:
    """How long after so many tries beyond the free ones the next is heard."""
    return 0 if beyond < 0 else min(LONGEST_WAIT_SECONDS, 1 << min(beyond, 30))


def first_refusal(session: Session, keys: Iterable[str]) -> bool:
    """Whether this is the first refusal since a try was counted; only that one is worth a record."""
    unsaid = or_(SignInTry.limited_at.is_(None), SignInTry.limited_at < SignInTry.tried_at)
    said = update(SignInTry).where(SignInTry.key.in_(list(keys)), unsaid).values(limited_at=func.clock_timestamp())
    return session.execute(said.returning(literal(1))).first() is not None


def forgive(session: Session, keys: Iterable[str]) -> None:
    """Forget these tries: an admin set another password."""
    session.execute(delete(SignInTry).where(SignInTry.key.in_(list(keys))))


def settle(session: Session, mine: Iterable[str], shared: str) -> None:
    """The password was right: forget the tries that were mine, and count this one no more where others try, too."""
    mine = list(mine)
    held(session, [*mine, shared])
    forgive(session, mine)
    session.execute(
        update(SignInTry).where(SignInTry.key == shared).values(tries=func.greatest(SignInTry.tries - 1, 0))
    )


def forget_old(session: Session) -> None:
    old = select(SignInTry.key).where(SignInTry.tried_at < func.now() - FORGET).with_for_update(skip_locked=True)
    session.execute(delete(SignInTry).where(SignInTry.key.in_(old)))
