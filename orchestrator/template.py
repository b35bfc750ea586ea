"""The commented adline.toml that `adline init` writes: every setting, its meaning, its default."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from orchestrator.reference import composed
from orchestrator.schema import Node, allowed, entry, resolve, schema, variants

WIDTH = 110
NOT_SET = "Not set by default; for example:"
HEADER = """\
adline.toml: the settings of this line. A line that begins with # is a comment: it shows the default.
To change a setting, remove the # and write another value. `adline config validate` checks the file,
`adline config show --origin` says which value counts and where it comes from.
Each setting can also be given as an environment variable: server.port is ADLINE_SERVER__PORT.
"""


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def toml_key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)


class Template:
    """Writes the file; what is in `given` stands as it is, all else as a comment."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, given: dict[str, Any]) -> str:
        self.comment(HEADER)
        for name, inner in schema()["properties"].items():
            self.setting([name], resolve(inner), given.get(name))
        return "\n".join(self.lines).rstrip() + "\n"

    def comment(self, text: str) -> None:
        for line in text.splitlines():
            self.lines.extend(f"# {part}".rstrip() for part in textwrap.wrap(line, WIDTH - 2) or [""])

    def setting(self, path: list[str], node: Node, given: Any) -> None:
        """A section, a list of sections, or sections by name; a single value is written by `values`."""
        if "items" in node:
            for item in given or []:
                self.table(f"[[{'.'.join(path)}]]", path, resolve(node["items"]), item)
            self.other_kinds(
                f"[[{'.'.join(path)}]]", resolve(node["items"]), [item.get("kind") for item in given or []]
            )
        elif named := entry(node):
            for name, item in (given or {}).items():
                self.table(f"[{'.'.join([*path, toml_key(name)])}]", [*path, name], resolve(named), item)
        else:
            if given is not None or not variants(node):
                self.table(f"[{'.'.join(path)}]", path, node, given or {})
            self.other_kinds(f"[{'.'.join(path)}]", node, [given["kind"]] if given else [])

    def table(self, header: str, path: list[str], node: Node, given: dict[str, Any]) -> None:
        node = variants(node).get(given.get("kind", ""), node)
        nested = {name: inner for name, inner in properties(node).items() if not single(inner)}
        self.lines.append("")
        self.comment(str(node["description"]))
        self.lines.append(header)
        self.values(node, given)
        for name, inner in nested.items():
            self.setting([*path, name], inner, given.get(name))

    def values(self, node: Node, given: dict[str, Any]) -> None:
        for name, inner in properties(node).items():
            if single(inner):
                self.value(name, inner, given)

    def value(self, name: str, node: Node, given: dict[str, Any]) -> None:
        self.comment(f"{node['description']} Allowed: {allowed({**node, 'nullable': False})}.")
        if name in given:
            self.lines.append(f"{name} = {toml_value(given[name])}")
            return
        value = node.get("default", node.get("const"))
        if value is None:
            self.comment(NOT_SET if node.get("nullable") else "Required; for example:")
            value = node["examples"][0]
        self.lines.append(f"# {name} = {toml_value(value)}")

    def other_kinds(self, header: str, node: Node, used: list[str]) -> None:
        for tag, variant in variants(node).items():
            if tag not in used:
                self.lines.append("")
                self.comment(f"Another kind: {variant['description']}")
                self.lines.append(f"# {header}")
                self.values(variant, {})


def properties(node: Node) -> dict[str, Node]:
    return {name: resolve(inner) for name, inner in node.get("properties", {}).items()}


def single(node: Node) -> bool:
    """Is this one value, written on one line?"""
    named = entry(node)
    return not (composed(node) or composed(resolve(node.get("items", {}))) or (named and composed(resolve(named))))


def template(given: dict[str, Any]) -> str:
    """A configuration file with these stations and recipes, and every other setting at its default."""
    return Template().write(given)
