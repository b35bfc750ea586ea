"""Makes docs/line.svg: the terminal while the demo line runs. `python docs/picture.py`, in a checkout."""

from __future__ import annotations

import io
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from cli.display import Display
from orchestrator.configuration import load_settings
from orchestrator.line import Options, line
from orchestrator.logs import log_to_file, terminal_kept_clean

PARTS, SHOWN_AT = 300, 212
PICTURE = Path(__file__).with_name("line.svg")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        loaded = load_settings(None, {})
        log_to_file(loaded.home / "logs" / "line.jsonl", "line")
        with terminal_kept_clean(loaded.home / "logs" / "output.log"):
            display = Display(loaded, PARTS)
            with line(loaded, Options(parts=PARTS)) as up:
                display.up = up
                while up.tally.parts() < SHOWN_AT:
                    time.sleep(0.1)
                console = Console(record=True, width=82, file=io.StringIO(), force_terminal=True)
                console.print(display)
    PICTURE.write_text(console.export_svg(title="adline start --parts 300"), encoding="utf-8")


if __name__ == "__main__":
    main()
