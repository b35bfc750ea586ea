"""The demo line: what runs when no configuration is in the folder."""

from __future__ import annotations

from typing import Any


def demo_line() -> dict[str, Any]:
    """One station that tests real solar cells, ten a second."""
    return {
        "stations": [
            {
                "name": "cell-tester",
                "recipe": "elpv-mono",
                "product": "solar-cell",
                "cameras": [{"kind": "elpv", "name": "electroluminescence", "cells": "mono"}],
                "trigger": {"kind": "interval", "parts_per_minute": 600.0},
            }
        ],
        "recipes": {"elpv-mono": {"teach": {"kind": "elpv", "cells": "mono", "count": 400}}},
    }


def example_line() -> dict[str, Any]:
    """One station that reads a folder: what `adline init` writes for you to change."""
    return {
        "stations": [
            {
                "name": "station-1",
                "recipe": "part-a",
                "cameras": [{"kind": "folder", "path": "incoming"}],
                "trigger": {"kind": "interval", "parts_per_minute": 60.0},
            }
        ],
        "recipes": {"part-a": {"teach": {"kind": "folder", "path": "known-good"}}},
    }
