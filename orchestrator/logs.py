"""Logs: JSON lines in files, nothing on the terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

FILE_BYTES = 20 << 20
FILES_KEPT = 5
LAST_LINES = 200
INSPECTION = re.compile(r"\binspection ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Terminal(io.TextIOWrapper):
    """Whoever watches the line. That nobody watches any more (a closed pipe or window) must not end it."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class JsonLines(logging.Formatter):
    """One JSON object a line; the inspection it is about stands in a field of its own."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "worker": self.worker,
            "pid": record.process,
            "logger": record.name,
            "message": message,
        }
        if found := INSPECTION.search(message):
            line["inspection_id"] = found[1]
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_file(path: Path, worker: str, level: int = logging.INFO) -> None:
    """Send this process's logs to the file, and nowhere else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(
        path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)


def last_words(file: Path) -> str:
    """What the process that logs there last died of, in one line; empty when it did not say."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines[-LAST_LINES:]):
        with suppress(ValueError, TypeError):
            row = json.loads(line)
            if row["level"] == "CRITICAL":
                return str(row.get("traceback") or row["message"]).splitlines()[-1]
    return ""


@contextmanager
def terminal_kept_clean(path: Path) -> Iterator[IO[str]]:
    """Whatever libraries print goes to the file; what is yielded is the terminal.

    Done on the file descriptors, because Ray prints from native code.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("ab") as sink, Terminal(os.fdopen(os.dup(1), "wb"), encoding="utf-8", errors="replace") as terminal:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)
