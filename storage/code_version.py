"""Which code is running, for every record that must say so."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The installed distribution's version."""
    try:
        return version("adline")
    except PackageNotFoundError:
        return "not installed"
