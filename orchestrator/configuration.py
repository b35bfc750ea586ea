"""Reading the settings, once: command line before environment before file before default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.demo import demo_line
from orchestrator.environment import CONFIG, HOME, apply_environment
from orchestrator.origin import DEFAULT, Draft, NoSuchEntry, leaves
from orchestrator.problem import check
from orchestrator.schema import dotted
from orchestrator.secret import masked_all
from orchestrator.settings import Settings
from orchestrator.toml_lines import toml_lines
from storage.errors import SettingsError

FILE_NAME = "adline.toml"
COMMAND_LINE = "command line"
POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Loaded:
    """The settings, and where they came from."""

    settings: Settings
    origin: dict[str, str]
    path: Path | None
    """The configuration file; None when there is none."""
    home: Path
    """The state folder."""
    is_demo: bool

    def shown(self) -> dict[str, Any]:
        """All settings as plain values, passwords masked."""
        shown: dict[str, Any] = masked_all(self.settings.model_dump(mode="json"))
        return shown


def load_settings(
    config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Loaded:
    """Read the settings or raise SettingsError with all problems at once.

    overrides: dotted path to value, from the command line; None stands for an option that was not given.
    """
    path = configuration_path(config, environ)
    folder = path.parent if path else Path.cwd()
    draft, problems = draft_of(path)
    problems += apply_environment(draft, environ)
    problems += apply_overrides(draft, overrides or {})
    settings, wrong = check(draft, {"folder": folder})
    if settings is None or problems:
        raise SettingsError(problems + wrong)
    home = Path(environ.get(HOME) or folder / ".adline").expanduser().absolute()
    is_demo = path is None and ("stations",) not in draft.origins
    return Loaded(settings, origins(settings, draft), path, home, is_demo)


def configuration_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that was asked for, else the one in this folder, if any."""
    asked, asker = (config, "--config") if config else (environ.get(CONFIG), f"environment {CONFIG}")
    if not asked:
        found = Path.cwd() / FILE_NAME
        return found if found.exists() else None
    path = Path(asked).expanduser().absolute()
    if not path.is_file():
        raise SettingsError([f"{asker}: no such file: {path}; `adline init` writes one"])
    return path


def draft_of(path: Path | None) -> tuple[Draft, list[str]]:
    """What the file gives, or the demo line when there is none; and why the file cannot be read."""
    if path is None:
        return Draft(demo_line()), []
    try:
        text = path.read_text(encoding="utf-8-sig")
        draft = Draft(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        return Draft({}), [f"{path.name}{syntax_error(str(error), text)}"]
    except (OSError, UnicodeDecodeError) as error:
        return Draft({}), [f"{path.name}: cannot be read: {error}"]
    draft.origins = {key: f"{path.name}:{line}" for key, line in toml_lines(text).items()}
    draft.origins[()] = path.name
    for leaf, _ in leaves(draft.given):
        draft.origins.setdefault(leaf, path.name)
    return draft, []


def syntax_error(message: str, text: str) -> str:
    """The place where an editor would jump to, then what tomllib says."""
    match = POSITION.search(message)
    if match is None:
        return f": is no valid TOML: {message}"
    # "end of document" has no numbers: count them.
    line, column = match.groups() if match[1] else (text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1)
    return f":{line}:{column}: is no valid TOML: {message[: match.start()]} (line {line}, column {column})"


def apply_overrides(draft: Draft, overrides: Mapping[str, Any]) -> list[str]:
    problems = []
    for path, value in overrides.items():
        try:
            if value is not None:
                draft.put(path.split("."), value, COMMAND_LINE)
        except NoSuchEntry as error:
            problems.append(f"{COMMAND_LINE}: {error}")
    return problems


def origins(settings: Settings, draft: Draft) -> dict[str, str]:
    """Who gave each value: only one who named this very setting counts, else it is the default."""
    found = leaves(settings.model_dump(mode="json"))
    return {dotted(path): draft.origins.get(path, DEFAULT) for path, _ in found}
