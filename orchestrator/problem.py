"""What is wrong with the settings: where, what was given, what is allowed."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.agreement import Disagreement
from orchestrator.origin import Draft
from orchestrator.schema import Node, Place, allowed, dotted, entry, place, quoted, resolve, schema, variants
from orchestrator.secret import masked_all
from orchestrator.section import KeyPath
from orchestrator.settings import Settings

SHOWN_CHARACTERS = 120


class Problem(NamedTuple):
    """One thing that is wrong, at one path."""

    path: KeyPath
    text: str


def check(draft: Draft, context: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The settings, or everything that is wrong with them."""
    try:
        return Settings.model_validate(draft.given, context=dict(context)), []
    except ValidationError as error:
        problems = list(problems_of(error, draft))
        problems += agreement_problems(draft, [problem.path for problem in problems], context)
        return None, [f"{draft.where(problem.path)}: {problem.text}" for problem in problems]


def problems_of(error: ValidationError, draft: Draft) -> Iterator[Problem]:
    for details in error.errors(include_url=False):
        if details["type"] == "disagreement":
            yield from map(disagreement_problem, details["ctx"]["disagreements"])
        elif not miscounted(details):
            found = place(details["loc"], draft.given)
            yield Problem(blamed(details, found.path), sentence(details, found, draft))


def miscounted(details: ErrorDetails) -> bool:
    # Pydantic counts only the entries that are fine; each of the others already has its own problem.
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def blamed(details: ErrorDetails, path: KeyPath) -> KeyPath:
    """The path whose line the reader must change."""
    if details["type"] == "union_tag_invalid":
        return (*path, "kind")
    return path[:-1] if path and path[-1] == "[key]" else path


def disagreement_problem(one: Disagreement) -> Problem:
    return Problem(one.path, f"{dotted(one.path)} is {quoted(one.given)}; allowed: {one.allowed}")


def agreement_problems(draft: Draft, wrong: list[KeyPath], context: Mapping[str, Any]) -> list[Problem]:
    """Pydantic looks at how settings agree only when each is fine; so look again without the wrong ones."""
    given = copy.deepcopy(draft.given)
    for path in sorted(wrong, key=len, reverse=True):
        remove(given, path)
    try:
        Settings.model_validate(given, context=dict(context))
    except ValidationError as error:
        found = [one for details in error.errors() for one in details.get("ctx", {}).get("disagreements", [])]
        # What was taken out counts as its default now: say nothing about that.
        return [disagreement_problem(one) for one in found if not any(map(touched(wrong), (one.path, *one.others)))]
    return []


def touched(wrong: list[KeyPath]) -> Callable[[KeyPath], bool]:
    return lambda path: any(path[: len(removed)] == removed for removed in wrong)


def remove(given: Any, path: KeyPath) -> None:
    for segment in path[:-1]:
        try:
            given = given[segment]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(given, dict):
        given.pop(path[-1], None)


def sentence(details: ErrorDetails, found: Place, draft: Draft) -> str:
    kind, node = details["type"], found.node or {}
    if kind == "extra_forbidden":
        return unknown(found, draft)
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        tags = " or ".join(map(quoted, variants(node)))
        if kind == "union_tag_not_found":
            return f"{found.dotted}.kind is missing; allowed: {tags}"
        return f"{found.dotted}.kind is {quoted(details['ctx']['tag'])}; allowed: {tags}"
    if kind == "missing":
        return f"{found.dotted} is missing; allowed: {allowed(node)}"
    if found.path and details["loc"][-1] == "[key]":
        return f"{dotted(found.path[:-1])} is no name; allowed: {name_rule(found.path)}"
    if kind == "value_error":
        return f"{found.dotted} is {shown(details['input'], node)}; {details['msg']}"
    return f"{found.dotted} is {shown(details['input'], node)}; allowed: {allowed(node)}"


def name_rule(path: KeyPath) -> str:
    names = (place(path[:-2]).node or {}).get("propertyNames", {})
    return allowed(names)


def shown(given: Any, node: Node) -> str:
    """What was given, without its password and not at any length."""
    if node.get("secret") and "://" not in str(given):
        return "a text that is not shown, as it may hold a password"
    text = json.dumps(masked_all(given), ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def unknown(found: Place, draft: Draft) -> str:
    """No such setting; name the nearest one, and all that could stand there."""
    known = list(found.section.get("properties", {}))
    suggestion = nearest(found, known, draft)
    text = f"{found.dotted} is no setting"
    if suggestion:
        text += f"; did you mean {suggestion}?"
    return f"{text}{';' if not suggestion else ''} allowed: {', '.join(known)}"


def nearest(found: Place, known: list[str], draft: Draft) -> str | None:
    name = str(found.path[-1])
    from_environment = draft.where(found.path).startswith("environment ")
    siblings = [dotted((*found.path[:-1], other)) for other in difflib.get_close_matches(name, known, 1)]
    elsewhere = [path for path in static_paths() if path.rsplit(".", 1)[-1] == name]
    # ADLINE_SERVER_PORT, with one underscore too few, arrives here as "server_port".
    run_together = [path for path in static_paths() if path.replace(".", "_") == name]
    similar = difflib.get_close_matches(found.dotted, static_paths(), 1, 0.8)
    for candidate in [*run_together, *siblings, *elsewhere, *similar]:
        return f"ADLINE_{candidate.replace('.', '__').upper()}" if from_environment else candidate
    return None


def static_paths(node: Node | None = None, path: KeyPath = ()) -> list[str]:
    """Dotted paths of all settings that stand at a fixed place."""
    node = resolve(node or schema())
    if not node.get("properties") or entry(node):
        return [dotted(path)]
    return [found for name, inner in node["properties"].items() for found in static_paths(inner, (*path, name))]
