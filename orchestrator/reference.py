"""The reference of every setting: path, type, default, meaning; made from the models, so it cannot go stale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.schema import Node, allowed, entry, quoted, resolve, schema, variants

START, END = "<!-- settings -->", "<!-- /settings -->"


class Row(NamedTuple):
    """One setting; `kinds` says which kinds of camera, trigger or teaching have it (none: all)."""

    path: str
    kinds: tuple[str, ...]
    node: Node
    required: bool

    @property
    def default(self) -> str:
        if self.required:
            return "required"
        value = self.node.get("default")
        return "not set" if value is None else f"`{quoted(value)}`"

    @property
    def meaning(self) -> str:
        text = str(self.node["description"])
        return f"({' / '.join(self.kinds)}) {text}" if self.kinds else text


def rows(node: Node | None = None, path: str = "") -> Iterator[Row]:
    """Every setting, in the order of the models."""
    node = resolve(node or schema())
    if kinds := variants(node):
        yield from variant_rows(kinds, path)
        return
    for name, inner in node.get("properties", {}).items():
        yield from setting_rows(resolve(inner), f"{path}.{name}".lstrip("."), name in node.get("required", []))


def setting_rows(node: Node, path: str, required: bool) -> Iterator[Row]:
    items = resolve(node["items"]) if "items" in node else None
    named = resolve(found) if (found := entry(node)) else None
    if items and composed(items):
        yield from rows(items, f"{path}[]")
    elif named and composed(named):
        yield from rows(named, f"{path}.<name>")
    elif composed(node):
        yield from rows(node, path)
    else:
        yield Row(path, (), node, required)


def composed(node: Node) -> bool:
    """Does this setting consist of others?"""
    return bool(node.get("properties") or variants(node))


def variant_rows(kinds: dict[str, Node], path: str) -> Iterator[Row]:
    """What all kinds have once; then what only some have; `kind` itself first."""
    choices = {"enum": list(kinds), "description": "; ".join(f"{tag}: {brief(node)}" for tag, node in kinds.items())}
    yield Row(f"{path}.kind", (), choices, True)
    found: dict[str, list[tuple[str, Row]]] = {}
    for tag, node in kinds.items():
        for row in rows(node, path):
            found.setdefault(row.path, []).append((tag, row))
    del found[f"{path}.kind"]
    for entries in found.values():
        yield from merged(entries, len(kinds))


def brief(node: Node) -> str:
    text = str(node["properties"]["kind"]["description"]).rstrip(".")
    return text[0].lower() + text[1:]


def merged(entries: list[tuple[str, Row]], all_kinds: int) -> Iterator[Row]:
    (_, first), tags = entries[0], tuple(tag for tag, _ in entries)
    if len(entries) == all_kinds:
        yield first
    elif all(row.node == first.node for _, row in entries):
        yield first._replace(kinds=tags)
    else:
        yield from (row._replace(kinds=(tag,)) for tag, row in entries)


def settings_table() -> str:
    """The Markdown table of every setting, between its markers, as it stands in README.md."""
    lines = [START, "| setting | allowed | default | meaning |", "|---|---|---|---|"]
    for row in rows():
        cells = [f"`{row.path}`", allowed({**row.node, "nullable": False}), row.default, row.meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, END]) + "\n"
