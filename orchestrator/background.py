"""A context that is entered beside other work."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Entered(Generic[T]):
    """Enters the context in a thread; `result` waits for it. Leaves it when it was entered, whatever happened.

    Ray is not what is started here: it ties its processes to the thread that starts them.
    """

    def __init__(self, context: AbstractContextManager[T]) -> None:
        self.context = context
        self.value: T | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.enter, name="entering", daemon=True)

    def enter(self) -> None:
        try:
            self.value = self.context.__enter__()
        except BaseException as error:  # the end of a thread: handed over
            self.error = error

    def result(self) -> T:
        self.thread.join()
        if self.error:
            raise self.error
        assert self.value is not None
        return self.value

    def __enter__(self) -> Entered[T]:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.thread.join()
        if self.error is None:
            self.context.__exit__(kind, error, traceback)
