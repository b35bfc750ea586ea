"""Events that were set aside: which they are, and back to where they came from."""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import NotOnRecord
from storage.stream import DeadLetter, EventLog


def all_letters(log: EventLog) -> list[DeadLetter]:
    """Those there are now; one that returns while they are replayed is not among them."""
    return log.dead_letters(max(1, log.dead_count()))


def replay(log: EventLog, ids: Sequence[str]) -> list[DeadLetter]:
    """Put these back; all or none when one is not known."""
    letters = {letter.id: letter for letter in all_letters(log)}
    unknown = [id for id in ids if id not in letters]
    if unknown:
        raise NotOnRecord(f"there is no dead letter {', '.join(unknown)}; `adline dlq list` shows those there are")
    chosen = [letters[id] for id in dict.fromkeys(ids)]
    for letter in chosen:
        log.replay(letter)
    return chosen


def replay_all(log: EventLog) -> list[DeadLetter]:
    letters = all_letters(log)
    for letter in letters:
        log.replay(letter)
    return letters
