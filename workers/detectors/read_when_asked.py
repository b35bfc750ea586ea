"""What would fill the memory all at once: read when it is asked for, each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

Name = TypeVar("Name")
Read = TypeVar("Read")


class ReadWhenAsked(Sequence[Read], Generic[Name, Read]):
    """As many as there are names, in their order; nothing is kept."""

    def __init__(self, names: Sequence[Name], read: Callable[[Name], Read]) -> None:
        self.names, self.read = names, read

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Read: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Read]: ...
    def __getitem__(self, place: int | slice) -> Read | Sequence[Read]:
        if isinstance(place, slice):
            return ReadWhenAsked(self.names[place], self.read)
        return self.read(self.names[place])
