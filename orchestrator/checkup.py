"""Everything a line needs, checked one by one, each with what mends it: `adline doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """What one check found; `mend` says what to do, and is empty when there is nothing to do."""

    check: str
    state: State
    detail: str
    mend: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "warning", detail, mend)


def failed(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "failed", detail, mend)


def examine(checks: list[tuple[str, Callable[[], Iterator[Finding]]]]) -> Iterator[Finding]:
    """Run the checks in order; one that itself breaks is a finding and hides no other."""
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken machine breaks checks in ways nobody foresees
            yield failed(name, f"the check itself failed: {type(error).__name__}: {error}", "report this")
