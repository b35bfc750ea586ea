"""On which line of a TOML file a setting stands: tomllib does not say."""

from __future__ import annotations

import json
import re

from orchestrator.section import KeyPath

BLANK = re.compile(r"[ \t]*")
SPACE = re.compile(r"(?:\s|#[^\n]*)*")
KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'""", re.DOTALL)
SCALAR = re.compile(r"[^,\]}#\n]+")


class Lost(Exception):
    """The scanner does not understand this file; then the file alone is named."""


class TomlLines:
    """Reads a file that tomllib has already accepted, and remembers the line of each key and each list entry."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.tables: dict[KeyPath, int] = {}  # arrays of tables: how many entries so far

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.take(SPACE)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self.header("[[", "]]")
            elif self.text.startswith("[", self.at):
                table = self.header("[", "]")
            else:
                self.pair(table)
            self.take(SPACE)
        return self.lines

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise Lost
        self.at = match.end()
        return match.group()

    def expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise Lost
        self.at += len(mark)

    def header(self, opening: str, closing: str) -> KeyPath:
        start = self.at
        self.expect(opening)
        keys = self.dotted_key()
        self.expect(closing)
        path = self.within((), keys[:-1])
        path = (*path, keys[-1])
        if opening == "[[":
            self.tables[path] = self.tables.get(path, -1) + 1
        path = self.within(path[:-1], [keys[-1]])
        self.note(path, start)
        return path

    def within(self, path: KeyPath, keys: list[str]) -> KeyPath:
        """A key of an array of tables means its latest entry."""
        for key in keys:
            path = (*path, key)
            if path in self.tables:
                path = (*path, self.tables[path])
        return path

    def dotted_key(self) -> list[str]:
        keys = []
        while True:
            self.take(BLANK)
            key = self.take(KEY)
            keys.append(json.loads(key) if key[0] == '"' else key.strip("'"))
            self.take(BLANK)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def pair(self, table: KeyPath) -> None:
        start = self.at
        path = (*table, *self.dotted_key())
        self.note(path, start)
        self.expect("=")
        self.take(BLANK)
        self.value(path)

    def note(self, path: KeyPath, start: int) -> None:
        line = self.text.count("\n", 0, start) + 1
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)
        self.lines[path] = line

    def value(self, path: KeyPath) -> None:
        mark = self.text[self.at : self.at + 1]
        if mark in {'"', "'"}:
            self.take(STRING)
        elif mark == "[":
            self.array(path)
        elif mark == "{":
            self.inline_table(path)
        else:
            self.take(SCALAR)

    def array(self, path: KeyPath) -> None:
        self.expect("[")
        self.take(SPACE)
        number = 0
        while not self.text.startswith("]", self.at):
            self.note((*path, number), self.at)
            self.value((*path, number))
            self.comma("]")
            number += 1
        self.expect("]")

    def inline_table(self, path: KeyPath) -> None:
        self.expect("{")
        self.take(SPACE)
        while not self.text.startswith("}", self.at):
            self.pair(path)
            self.comma("}")
        self.expect("}")

    def comma(self, closing: str) -> None:
        self.take(SPACE)
        if not self.text.startswith(closing, self.at):
            self.expect(",")
            self.take(SPACE)


def toml_lines(text: str) -> dict[KeyPath, int]:
    """Line of each key path; empty when the file is beyond this scanner."""
    try:
        return TomlLines(text.replace("\r\n", "\n")).scan()
    except (Lost, ValueError):
        return {}
