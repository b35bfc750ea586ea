"""The settings' JSON schema, walked along a path: what is known of a setting there, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from orchestrator.section import KeyPath
from orchestrator.settings import Settings

Node = dict[str, Any]


class Place(NamedTuple):
    """A setting's dotted path without pydantic's union tags, its schema (None: no such setting) and its section's."""

    path: KeyPath
    node: Node | None
    section: Node

    @property
    def dotted(self) -> str:
        return dotted(self.path)


def dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path)) or "the settings"


@cache
def schema() -> Node:
    found: Node = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def resolve(node: Node) -> Node:
    """Follow references and look through "or not set"; what the outer node says of itself stays."""
    while "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        node = {**schema()["$defs"][name], **{key: value for key, value in node.items() if key != "$ref"}}
    if "anyOf" in node:
        (inner,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return {**resolve(inner), **rest, "nullable": True}
    return node


def variants(node: Node) -> dict[str, Node]:
    """The kinds of a setting that comes in several kinds, by their tag."""
    mapping = node.get("discriminator", {}).get("mapping", {})
    # The order in which the class lists them, not the alphabet: the common one first.
    by_reference = {reference: tag for tag, reference in mapping.items()}
    return {by_reference[choice["$ref"]]: resolve(choice) for choice in node.get("oneOf", [])}


def child(node: Node, segment: str | int) -> Node | None:
    if "prefixItems" in node and isinstance(segment, int) and segment < len(node["prefixItems"]):
        return resolve(node["prefixItems"][segment])
    if isinstance(segment, int):
        return resolve(node["items"]) if "items" in node else None
    if segment in node.get("properties", {}):
        return resolve(node["properties"][segment])
    named = entry(node)
    return resolve(named) if named else None


def entry(node: Node) -> Node | None:
    """The schema of a named entry, where names are free to choose."""
    for named in node.get("patternProperties", {}).values():
        return dict(named)
    named = node.get("additionalProperties")
    return dict(named) if named else None


def place(location: Sequence[str | int], given: Any = None) -> Place:
    """Walk a path, pydantic's or a person's; in what is given, `kind` says which variant is meant."""
    node: Node | None = schema()
    section, path = schema(), []
    for segment in location:
        if node is not None and (kinds := variants(node)):
            if segment in kinds and not (isinstance(given, dict) and segment in given):
                node = kinds[str(segment)]  # a tag that pydantic put into the location
                continue
            kind = given.get("kind") if isinstance(given, dict) else None
            node = kinds.get(str(kind)) or any_variant(kinds, segment)
        section = node or {}
        node = child(node, segment) if node is not None else None
        given = descend(given, segment)
        path.append(segment)
    return Place(tuple(path), node, section)


def any_variant(kinds: dict[str, Node], segment: str | int) -> Node | None:
    return next((node for node in kinds.values() if segment in node.get("properties", {})), None)


def descend(given: Any, segment: str | int) -> Any:
    if isinstance(given, dict):
        return given.get(segment)
    if isinstance(given, list | tuple) and isinstance(segment, int) and segment < len(given):
        return given[segment]
    return None


def allowed(node: Node) -> str:
    """What a setting may be, in words."""
    if "allowed" in node:
        text = str(node["allowed"])
    elif kinds := variants(node):
        text = "a table with kind = " + " or ".join(map(quoted, kinds))
    elif "enum" in node:
        text = " or ".join(map(quoted, node["enum"]))
    elif "const" in node:
        text = quoted(node["const"])
    else:
        text = plain(node)
    return f"{text}, or not set" if node.get("nullable") else text


def plain(node: Node) -> str:
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "a text",
        "array": "a list",
        "object": "a table",
    }
    text = "a path" if node.get("format") == "path" else words.get(node.get("type", ""), "a value")
    if node.get("minItems") == 1:
        return f"{text} with at least one entry"
    if node.get("minLength") == 1:
        return f"{text} that is not empty"
    return ", ".join([f"{text} {bounds(node)}".strip(), *multiple(node)])


def bounds(node: Node) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"from {low} to {high}"
    lower = f"at least {low}" if low is not None else f"above {above}" if above is not None else ""
    upper = f"at most {high}" if high is not None else f"below {below}" if below is not None else ""
    return " and ".join(filter(None, [lower, upper]))


def multiple(node: Node) -> list[str]:
    return [f"a multiple of {node['multipleOf']}"] if "multipleOf" in node else []


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
