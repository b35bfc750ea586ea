"""Loaded by Python itself in each process of a line that is watched: names its environment gets beside other threads.

A new name may end the process with a segmentation fault: while the C library moves its list, libpq reads it.
"""

from __future__ import annotations

import os
import sys
import threading

FOUND = os.environ.get("FOUND_BESIDE")
HARMLESS = ("MainThread", "PythonGCThread")  # Ray's collector reads no environment, and connects to nothing


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "os.putenv" and isinstance(name := arguments[0], bytes) and name not in os.environb:
        others = [one.name for one in threading.enumerate() if one.name not in HARMLESS]
        if others and FOUND:
            with open(FOUND, "a", encoding="utf-8") as file:
                file.write(f"{name.decode()} beside {', '.join(others)}\n")


if FOUND:
    with open(FOUND, "a", encoding="utf-8"):
        sys.addaudithook(watch)
