"""What the tests of the settings share: a folder with a configuration, and the problems it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.configuration import Loaded, load_settings
from storage.errors import SettingsError

STATION = """
[[stations]]
name = "press"
recipe = "bracket"

[[stations.cameras]]
kind = "folder"
path = "incoming"

[recipes.bracket]
"""


def load(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Loaded:
    path = folder / "adline.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {}, overrides)


def problems(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, text, environ, overrides)
    return caught.value.problems
