"""The settings as given so far, and where each value came from; later givers win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.schema import descend, dotted, place
from orchestrator.section import KeyPath

DEFAULT = "default"


class NoSuchEntry(Exception):
    """A list has no entry of that number or name."""


class Draft:
    """What was given, before it is checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.origins: dict[KeyPath, str] = {}

    def put(self, segments: Sequence[str], value: Any, origin: str) -> None:
        """Set one value by its path, replacing all that was below it."""
        path = self.spelled(segments)
        holder: Any = self.given
        for segment in path[:-1]:
            if not isinstance(descend(holder, segment), dict | list):
                holder[segment] = {}
            holder = holder[segment]
        holder[path[-1]] = value
        self.origins = {known: source for known, source in self.origins.items() if known[: len(path)] != path}
        self.origins[path] = origin
        self.origins.update((leaf, origin) for leaf, _ in leaves(value, path))

    def spelled(self, segments: Sequence[str]) -> KeyPath:
        """The path as the settings spell it: ("STATIONS", "CELL_TESTER") is ("stations", 0)."""
        path: KeyPath = ()
        holder: Any = self.given
        for segment in segments:
            path = (*path, self.spell(path, holder, segment))
            holder = descend(holder, path[-1])
        return path

    def spell(self, path: KeyPath, holder: Any, segment: str) -> str | int:
        if isinstance(holder, list):
            return entry_number(path, holder, segment)
        node = place(path, self.given).node or {}
        if holder is None and node.get("type") == "array":
            raise NoSuchEntry(f"{dotted(path)} has no entry {segment}: it is empty")
        names = holder if isinstance(holder, dict) else {}
        same = (name for name in names if plain(name) == plain(segment))
        known = (name for name in node.get("properties", {}) if plain(name) == plain(segment))
        return next(same, None) or next(known, None) or segment.lower()

    def where(self, path: KeyPath) -> str:
        """Who gave this value, or the nearest section around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return DEFAULT


def entry_number(path: KeyPath, entries: list[Any], segment: str) -> int:
    """An entry of a list, by its number or its name."""
    if segment.isdecimal() and int(segment) < len(entries):
        return int(segment)
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    for number, name in enumerate(names):
        if isinstance(name, str) and plain(name) == plain(segment):
            return number
    known = ", ".join(f"{number} ({name})" if name else str(number) for number, name in enumerate(names))
    raise NoSuchEntry(f"{dotted(path)} has no entry {segment}; it has {known or 'none'}")


def plain(name: Any) -> str:
    # A shell variable can have neither hyphens nor, by custom, small letters.
    return str(name).lower().replace("-", "_")


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Each single value below; a list of plain values is one value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    else:
        yield path, value
