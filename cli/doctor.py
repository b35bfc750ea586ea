"""`adline doctor`: check every prerequisite, and say how to mend what is wrong."""

from __future__ import annotations

import os
from dataclasses import asdict

import typer
from rich.text import Text

from cli.option import ConfigOption, JsonOption
from cli.output import console, print_json
from orchestrator.checkup import Finding
from orchestrator.checkup_line import check_up

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check every prerequisite and say how to mend what is wrong; exit code 1 when something failed."""
    findings = []
    for finding in check_up(config, os.environ):
        findings.append(finding)
        if not as_json:
            console().print(in_words(finding), soft_wrap=True)
    healthy = all(finding.state != "failed" for finding in findings)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    raise typer.Exit(0 if healthy else 1)


def in_words(finding: Finding) -> Text:
    words = Text(f"{finding.state:<8}", style=COLOURS[finding.state])
    words.append(f"{finding.check}: {finding.detail}", style="default")
    if finding.mend:
        words.append(f"\n        → {finding.mend}", style="default")
    return words
