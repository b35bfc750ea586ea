"""`adline soak`: kill the line's workers and services at random, and count."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.option import ConfigOption, JsonOption
from orchestrator.configuration import load_settings
from orchestrator.logs import log_to_file, terminal_kept_clean


def soak(
    config: ConfigOption = None,
    parts: Annotated[int, typer.Option(min=1, help="Parts to inspect.")] = 2000,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs: of workers, and once of each embedded service.")] = 40,
    seed: Annotated[int, typer.Option(help="Which worker dies when.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Folder for records and logs, kept; else a temporary one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that nothing is lost: a line of its own, killed again and again. Exit code 1 when a part is lost,
    or when the parts were through before all kills were done."""
    from orchestrator.soak import soak as run  # Ray: only for a line that runs

    loaded = load_settings(config, os.environ)
    with tempfile.TemporaryDirectory(prefix="adline-soak-") as temporary:
        home = (keep or Path(temporary)).absolute() / ".adline"
        log_to_file(home / "logs" / "line.jsonl", "line")
        with terminal_kept_clean(home / "logs" / "output.log") as terminal:
            console = Console(file=terminal, quiet=as_json)
            with console.status("starting") as status:
                report = run(replace(loaded, home=home), parts, kills, seed, status.update)
    typer.echo(json.dumps(report) if as_json else in_words(report))
    if report["lost"] or report["duplicated"] or report["kills_not_done"]:
        raise typer.Exit(1)


def in_words(report: dict[str, Any]) -> str:
    recovery = report["recovery_seconds"]
    return (
        f"{report['recorded']} of {report['parts']} parts on record, {report['lost']} lost, "
        f"{report['duplicated']} duplicated under {report['kills']} kills; "
        f"back after {recovery['p50']} s (median), {recovery['max']} s at most"
    )
