"""The events' way through Redis streams: groups, acknowledgement, reclaim, dead letters, trimming.

Works on Redis 6.2 and newer and on Valkey. Redis has no visibility timeout of its own: what a dead worker had in hand
stays pending until somebody claims it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError, TryAgainError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from storage.errors import EventUnreadable, StreamUnavailable
from storage.events import (
    Event,
    FrameCaptured,
    InspectionCompleted,
    InspectionDecided,
    PartShadowed,
    PartTriggered,
    ReviewResolved,
    Trigger,
    decode_event,
    now,
    storable,
)

logger = logging.getLogger(__name__)

NOTIFICATIONS_KEPT = 10_000  # of what has no group: the table is the truth
# What a server answers that cannot take a command now and may later (a full store, a replica, a reload from disk).
TRANSIENT: Final = (OutOfMemoryError, ReadOnlyError, MasterDownError, TryAgainError)
TRANSIENT_CODE: Final = re.compile(r"(Command # .* caused error: )?(MISCONF|NOREPLICAS) ", re.DOTALL)
# Who reads what. A group that does not exist yet has read nothing: its worker is still being started.
READERS: Final[Mapping[str, tuple[str, ...]]] = {
    PartTriggered.stream: ("capture",),
    FrameCaptured.stream: ("inference", "record"),
    InspectionDecided.stream: ("record",),
    PartShadowed.stream: ("record",),
}

# One script, so that a number is never given without its trigger being told: KEYS trigger stream, station's counter,
# run's counter, station's arrived files, the run's first number of the station; ARGV trigger as JSON without its
# number, the run's limit (0 is none), a file and its state ("" is none), how many the station has in a run (0 is
# without end). Returns the number; 0 when the run has had all its triggers; -1 when the file has had its; -2 when the
# station has had its.
NUMBER_AND_TELL = """
local limit = tonumber(ARGV[2])
if limit > 0 and tonumber(redis.call('GET', KEYS[3]) or '0') >= limit then return 0 end
local last = tonumber(ARGV[5])
local first = tonumber(redis.call('GET', KEYS[5]) or '0')
if last > 0 and first > 0 and tonumber(redis.call('GET', KEYS[2]) or '0') - first + 1 >= last then return -2 end
if ARGV[3] ~= '' then
  if redis.call('HGET', KEYS[4], ARGV[3]) == ARGV[4] then return -1 end
  redis.call('HSET', KEYS[4], ARGV[3], ARGV[4])
end
redis.call('INCR', KEYS[3])
local number = redis.call('INCR', KEYS[2])
if first == 0 then redis.call('SET', KEYS[5], number) end
redis.call('XADD', KEYS[1], '*', 'stream', 'part.triggered', 'number', number, 'body', ARGV[1])
return number
"""


Row = tuple[str, str, Any]
"""Stream, id and fields of an entry as Redis gave it."""


@dataclass(frozen=True)
class Entry:
    """One delivery of an event to a group; `deliveries` counts this one."""

    key: str
    id: str
    event: Event
    deliveries: int = 1


@dataclass(frozen=True)
class DeadLetter:
    """An entry that was set aside, with the reason; it can be replayed."""

    id: str
    key: str
    group: str
    entry_id: str
    stream: str
    body: str
    reason: str
    deliveries: int
    set_aside_at: str


@dataclass(frozen=True)
class GroupState:
    """How far a group is behind: entries delivered and not acknowledged, entries not yet delivered."""

    key: str
    group: str
    pending: int
    lag: int


class EventLog:
    """The streams of one line. Every method raises StreamUnavailable when the server does not answer."""

    def __init__(self, url: str, prefix: str = "adline") -> None:
        self.prefix = prefix
        # A lost answer must surface: the caller knows whether it may ask again.
        self.client = redis.Redis.from_url(
            url, socket_connect_timeout=5, socket_timeout=15, retry=Retry(NoBackoff(), 0), health_check_interval=0
        )
        self.number_and_tell = self.client.register_script(NUMBER_AND_TELL)

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Turn the ways a server can fail to answer into one error."""
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise StreamUnavailable(f"Redis does not answer: {error}") from error
        except ResponseError as error:
            if is_transient(error):
                raise StreamUnavailable(f"Redis does not take the command: {error}") from error
            raise

    def ping(self) -> None:
        with self.answered():
            self.client.ping()

    def key(self, event: type[Event], station: str | None = None) -> str:
        """Each station has its own trigger stream, read by its own capture worker."""
        return f"{self.prefix}:{event.stream}" + (f":{station}" if station else "")

    @property
    def dead_key(self) -> str:
        return f"{self.prefix}:dead"

    # Whose streams these are

    @property
    def owner_key(self) -> str:
        return f"{self.prefix}:line"

    def claim(self, owner: str, seconds: float, is_gone: Callable[[str], bool]) -> str | None:
        """Have the streams for so long, or longer if they are this owner's; who has them when somebody else does.

        is_gone: whether that one cannot come back, and need not be waited for.
        """
        milliseconds = round(1000 * seconds)
        with self.answered():
            while not self.client.set(self.owner_key, owner, px=milliseconds, nx=True):
                found = self.client.get(self.owner_key)
                if found is None:
                    continue  # it has just ended
                other = text(cast(bytes, found))
                if other == owner:
                    self.client.pexpire(self.owner_key, milliseconds)
                    return None
                if not is_gone(other):
                    return other
                self.client.delete(self.owner_key)
        return None

    def release(self, owner: str) -> None:
        with self.answered():
            found = self.client.get(self.owner_key)
            if found is not None and text(cast(bytes, found)) == owner:
                self.client.delete(self.owner_key)

    # Sending

    def trigger(
        self, trigger: Trigger, limit: int = 0, *, arrival: tuple[str, str] = ("", ""), last_number: int = 0
    ) -> int:
        """Give the trigger the station's next number and tell it.

        0 when the run's limit of triggers is reached; -1 when the arrived file (path, state) has had its trigger; -2
        when the station has had last_number in this run.
        """
        keys = [
            self.key(PartTriggered, trigger.station),
            f"{self.prefix}:triggers:{trigger.station}",
            self.triggers_key(str(trigger.run_id)),
            self.arrived_key(trigger.station),
            self.first_key(str(trigger.run_id), trigger.station),
        ]
        with self.answered():
            args: list[str | int] = [trigger.model_dump_json(), limit, *map(text, map(storable, arrival)), last_number]
            return int(self.number_and_tell(keys=keys, args=args))

    def arrived_key(self, station: str) -> str:
        return f"{self.prefix}:arrived:{station}"

    def arrived(self, station: str, path: str) -> str | None:
        """The state in which this file had its trigger."""
        with self.answered():
            found = self.client.hget(self.arrived_key(station), text(storable(path)))
        return None if found is None else text(found)

    def arrived_files(self, station: str) -> Iterator[tuple[str, str]]:
        """Every file that had its trigger, as it is stored here, and in which state; some perhaps twice."""
        with self.answered():
            for path, state in self.client.hscan_iter(self.arrived_key(station), count=1000):
                yield text(path), text(state)

    def forget_arrived(self, station: str, paths: Sequence[str]) -> None:
        """These files are gone: should they come back, they are other parts."""
        with self.answered():
            for at in range(0, len(paths), 1000):
                self.client.hdel(self.arrived_key(station), *(text(storable(path)) for path in paths[at : at + 1000]))

    def triggers_key(self, run_id: str) -> str:
        return f"{self.prefix}:run:{run_id}:triggers"

    def first_key(self, run_id: str, station: str) -> str:
        return f"{self.prefix}:run:{run_id}:first:{station}"

    def first_number(self, run_id: str, station: str) -> int:
        """The number of the run's first trigger at the station; 1 when it is not known."""
        with self.answered():
            return int(cast(bytes | None, self.client.get(self.first_key(run_id, station))) or 1)

    def triggered(self, run_id: str) -> int:
        """How many triggers the run has given."""
        with self.answered():
            return int(cast(bytes | None, self.client.get(self.triggers_key(run_id))) or 0)

    def seed_trigger_number(self, station: str, at_least: int) -> None:
        """Never give a number again that the table already knows (after Redis lost its data)."""
        key = f"{self.prefix}:triggers:{station}"
        with self.answered():
            if int(cast(bytes | None, self.client.get(key)) or 0) < at_least:
                self.client.set(key, at_least)

    def publish(self, *events: Event) -> None:
        self.publish_and_acknowledge(events, (), "")

    def publish_and_acknowledge(self, events: Iterable[Event], entries: Iterable[Entry], group: str) -> None:
        """Tell what came of the entries and acknowledge them in one MULTI: never one without the other."""
        with self.answered(), self.client.pipeline(transaction=True) as pipe:
            for event in events:
                self.add(pipe, event)
            for entry in entries:
                pipe.xack(entry.key, group, entry.id)
            pipe.execute()

    def add(self, pipe: Any, event: Event) -> None:
        body = {"stream": event.stream, "body": event.model_dump_json()}
        if isinstance(event, InspectionCompleted | ReviewResolved):
            pipe.xadd(self.key(type(event)), body, maxlen=NOTIFICATIONS_KEPT, approximate=True)
        else:
            pipe.xadd(self.key(type(event)), body)

    # Receiving

    def create_group(self, keys: Iterable[str], group: str) -> None:
        """Groups start at 0: what was told before the group existed is read too."""
        with self.answered():
            for key in keys:
                try:
                    self.client.xgroup_create(key, group, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    def read(self, group: str, consumer: str, keys: Sequence[str], count: int, block_milliseconds: int) -> list[Entry]:
        """New entries; waits up to block_milliseconds for the first one."""
        return self.fetch(group, consumer, dict.fromkeys(keys, ">"), count, block_milliseconds)

    def read_pending(self, group: str, consumer: str, keys: Sequence[str], count: int) -> list[Entry]:
        """What this consumer was given before and did not acknowledge (it was killed); counts as a delivery.

        One stream after the other: Redis counts `count` for each stream, and what is read has been delivered once more.
        """
        return next((found for key in keys if (found := self.pending_of(group, consumer, key, count))), [])

    def pending_of(self, group: str, consumer: str, key: str, count: int) -> list[Entry]:
        """What can be read of it; what cannot is set aside, and the next is looked at."""
        while rows := self.fetch_rows(group, consumer, {key: "0"}, count, None):
            with self.answered():
                if entries := self.entries(group, rows, redelivered=True):
                    return entries
        return []

    def fetch(
        self, group: str, consumer: str, ids: dict[str, str], count: int, block_milliseconds: int | None
    ) -> list[Entry]:
        with self.answered():
            rows = self.fetch_rows(group, consumer, ids, count, block_milliseconds)
            return self.entries(group, rows, redelivered=False)

    def fetch_rows(
        self, group: str, consumer: str, ids: dict[str, str], count: int, block_milliseconds: int | None
    ) -> list[Row]:
        with self.answered():
            try:
                answer = self.client.xreadgroup(group, consumer, cast(Any, ids), count, block_milliseconds or None)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self.create_group(ids, group)  # Redis lost its data
                return []
            streams = answer.items() if isinstance(answer, dict) else answer or []
            return [(text(key), text(id), fields) for key, rows in streams for id, fields in unnested(rows)]

    def claim_idle(
        self, group: str, consumer: str, keys: Sequence[str], idle_seconds: float, count: int
    ) -> list[Entry]:
        """Take over what another consumer has had in hand for too long: it is dead."""
        found = (self.claim_of(group, consumer, key, idle_seconds, count) for key in keys)
        return next((entries for entries in found if entries), [])

    def claim_of(self, group: str, consumer: str, key: str, idle_seconds: float, count: int) -> list[Entry]:
        """Each call looks at a few pending entries only: go on from where it ended."""
        cursor = "0-0"
        while True:
            with self.answered():
                answer = self.claimed(key, group, consumer, int(idle_seconds * 1000), cursor, count)
                cursor = text(answer[0])
                rows = [(key, text(id), fields) for id, fields in answer[1] if id is not None]
                entries = self.entries(group, rows, redelivered=True)
            if entries or cursor == "0-0":
                return entries

    def claimed(self, key: str, group: str, consumer: str, idle_milliseconds: int, cursor: str, count: int) -> Any:
        try:
            return self.client.xautoclaim(key, group, consumer, idle_milliseconds, cursor, count)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self.create_group([key], group)  # Redis lost its data
            return ["0-0", []]

    def uncount(self, entries: Iterable[Entry], group: str, consumer: str) -> None:
        """Take a delivery back: the worker was told to stop before it came to these."""
        with self.answered():
            for entry in entries:
                self.client.xclaim(
                    entry.key, group, consumer, 0, [entry.id], retrycount=entry.deliveries - 1, justid=True
                )

    def entries(self, group: str, found: Iterable[Row], redelivered: bool) -> list[Entry]:
        """Decode; what cannot be decoded is set aside at once and not delivered."""
        entries = []
        for key, id, fields in found:
            if not fields:  # trimmed while pending
                self.client.xack(key, group, id)
                continue
            deliveries = self.deliveries(key, group, id) if redelivered else 1
            try:
                entries.append(Entry(key, id, decode(fields), deliveries))
            except EventUnreadable as error:
                self.move_to_dead(key, group, id, fields, str(error), deliveries, ())
        return entries

    def deliveries(self, key: str, group: str, id: str) -> int:
        rows = cast(Any, self.client.xpending_range(key, group, min=id, max=id, count=1))
        return int(rows[0]["times_delivered"]) if rows else 1

    # Dead letters

    def set_aside(self, entry: Entry, group: str, reason: str, events: Iterable[Event] = ()) -> None:
        """Move the entry to the dead letters, tell what that means, and acknowledge it; all at once."""
        fields = {b"stream": entry.event.stream.encode(), b"body": entry.event.model_dump_json().encode()}
        with self.answered():
            self.move_to_dead(entry.key, group, entry.id, fields, reason, entry.deliveries, events)

    def move_to_dead(
        self, key: str, group: str, id: str, fields: Any, reason: str, deliveries: int, events: Iterable[Event]
    ) -> None:
        letter = {"key": key, "group": group, "entry_id": id, "reason": reason, "deliveries": deliveries}
        letter["set_aside_at"] = now().isoformat()
        letter["stream"], letter["body"] = fields.get(b"stream", b""), merged_body(fields)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.xadd(self.dead_key, cast(Any, letter))
            for event in events:
                self.add(pipe, event)
            pipe.xack(key, group, id)
            pipe.execute()

    def dead_letters(self, count: int = 1000) -> list[DeadLetter]:
        with self.answered():
            rows = cast(Any, self.client.xrange(self.dead_key, count=count))
        return [dead_letter(text(id), {text(k): text(v) for k, v in fields.items()}) for id, fields in rows]

    def replay(self, letter: DeadLetter) -> bool:
        """Put a dead letter back at the end of the stream it came from; False when somebody already has."""
        with self.answered(), self.client.pipeline(transaction=True) as pipe:
            rows = cast(Any, self.client.xrange(self.dead_key, min=letter.id, max=letter.id))
            if not rows:
                return False
            fields = rows[0][1]  # as they came: what is shown may not be what could not be read
            pipe.xadd(letter.key, {"stream": fields[b"stream"], "body": fields[b"body"]})
            pipe.xdel(self.dead_key, letter.id)
            pipe.execute()
        return True

    # Looking

    def follow(self, event: type[Event], after: str, count: int = 500) -> tuple[list[Event], str]:
        """Notifications after an id, without a group; give the id back to go on. `after` "" starts with the newest."""
        key = self.key(event)
        with self.answered():
            if not after:
                newest = cast(Any, self.client.xrevrange(key, count=1))
                return [], text(newest[0][0]) if newest else "0-0"
            rows = cast(Any, self.client.xrange(key, min=f"({after}", count=count))
        return readable(rows), text(rows[-1][0]) if rows else after

    def groups(self) -> list[GroupState]:
        """The state of every group of every stream of the line."""
        return [state for key in self.stream_keys() for state in self.group_states(key)]

    def backlog(self, key: str, group: str) -> int:
        """Entries of the stream that the group has not yet dealt with; all of them while there is no such group."""
        for state in self.group_states(key):
            if state.group == group:
                return state.pending + state.lag
        with self.answered():
            return int(cast(Any, self.client.xlen(key)))

    def group_states(self, key: str) -> list[GroupState]:
        with self.answered():
            return [
                GroupState(key, text(row["name"]), int(row["pending"]), self.lag(key, row))
                for row in self.group_rows(key)
            ]

    def lag(self, key: str, row: dict[str, Any]) -> int:
        """Redis 7 tells the lag, except after some deletions; 6.2 does not: then count what comes after."""
        told = row.get("lag")
        if told is not None:
            return int(told)
        return len(cast(Any, self.client.xrange(key, min=f"({text(row['last-delivered-id'])}", count=1000)))

    def group_rows(self, key: str) -> list[dict[str, Any]]:
        try:
            return cast(Any, self.client.xinfo_groups(key))  # type: ignore[no-any-return]  # redis is untyped here
        except ResponseError as error:
            if "no such key" in str(error):
                return []
            raise

    def stream_keys(self) -> list[str]:
        with self.answered():
            return sorted(
                text(key) for key in self.client.scan_iter(match=f"{self.prefix}:*", count=500, _type="stream")
            )

    def dead_count(self) -> int:
        with self.answered():
            return int(cast(Any, self.client.xlen(self.dead_key)))

    # Trimming

    def trim(self) -> int:
        """Remove what every group of a stream has acknowledged; never anything unread or pending. Returns how many."""
        return sum(self.trim_stream(key) for key in self.stream_keys() if key != self.dead_key)

    def trim_stream(self, key: str) -> int:
        with self.answered():
            rows = self.group_rows(key)
            if not rows or not self.readers(key) <= {text(row["name"]) for row in rows}:
                return 0
            needed = min((self.oldest_needed(key, row) for row in rows), key=id_order)
            return int(cast(Any, self.client.xtrim(key, minid=needed, approximate=False)))

    def readers(self, key: str) -> set[str]:
        stream = key.removeprefix(f"{self.prefix}:").split(":")[0]
        return set(READERS.get(stream, ()))

    def oldest_needed(self, key: str, row: dict[str, Any]) -> str:
        """The oldest entry the group may still want: its oldest pending one, else what follows the last delivered."""
        if int(row["pending"]):
            summary = cast(Any, self.client.xpending(key, text(row["name"])))
            if summary["min"]:
                return text(summary["min"])
        milliseconds, sequence = id_order(text(row["last-delivered-id"]))
        return f"{milliseconds}-{sequence + 1}"


def text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def unnested(rows: Any) -> Any:
    """RESP3 answers may wrap a stream's rows once more; a row itself is a tuple."""
    return rows[0] if rows and isinstance(rows[0], list) else rows


def is_transient(error: ResponseError) -> bool:
    """By its class, which is all the client leaves of the codes it knows; else by the code it puts before the words."""
    return isinstance(error, TRANSIENT) or TRANSIENT_CODE.match(str(error)) is not None


def readable(rows: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Event]:
    """Notifications alone may be passed over: the table is the truth."""
    events = []
    for id, fields in rows:
        try:
            events.append(decode(fields))
        except EventUnreadable as error:
            logger.warning("notification %s is passed over: %s", text(id), error)
    return events


def merged_body(fields: dict[bytes, bytes]) -> bytes:
    """A trigger's number is given by the server and stands beside its body: put it in."""
    body, number = fields.get(b"body", b""), fields.get(b"number")
    if number is None:
        return body
    return b'{"trigger":' + body.replace(b'"trigger_number":0', b'"trigger_number":' + number, 1) + b"}"


def decode(fields: dict[bytes, bytes]) -> Event:
    return decode_event(text(fields.get(b"stream", b"")), merged_body(fields))


def dead_letter(id: str, fields: dict[str, str]) -> DeadLetter:
    return DeadLetter(id=id, **{**fields, "deliveries": int(fields["deliveries"])})  # type: ignore[arg-type]  # strings


def id_order(id: str) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence or 0)
