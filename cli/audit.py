"""`adline audit`: what happened, asked of the records; nothing here can change them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import Row, print_csv, print_json, print_table
from orchestrator.archive import reading, records
from orchestrator.configuration import load_settings
from orchestrator.evidence import digest_of, verify
from orchestrator.replay import replay
from storage import audit
from storage.auditor import ask
from storage.errors import NotOnRecord

app = typer.Typer(help="Ask the records what happened; nothing here can change them.", no_args_is_help=True)
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
SHOWN = (
    *("triggered_at", "part_id", "lot", "station", "camera", "verdict", "reason"),
    *("anomaly_score", "percentile_of_good", "model_version", "sha256", "inspection_id"),
)
"""The columns people see first; --json and --csv have them all."""


@app.command()
def part(
    name: Annotated[str, typer.Argument(help="Serial number of the part, or an inspection's id.", metavar="ID")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """The life of a part: each view of each inspection, with what led to its verdict."""
    with reading(load_settings(config, os.environ)) as session:
        found = audit.part(session, name)
    show(found, f"part or inspection {name!r}", as_json, as_csv)


@app.command()
def image(
    name: Annotated[str, typer.Argument(help="SHA-256 or MD5 of the image, or its file.", metavar="HASH|FILE")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Every inspection that saw this image."""
    digest = digest_of(name)
    with reading(load_settings(config, os.environ)) as session:
        found = audit.image(session, digest)
    show(found, f"image {digest}", as_json, as_csv)


@app.command()
def lot(
    name: Annotated[str, typer.Argument(help="Name of the lot.", metavar="LOT")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Every part of a lot."""
    with reading(load_settings(config, os.environ)) as session:
        found = audit.lot(session, name)
    show(found, f"lot {name!r}", as_json, as_csv)


@app.command("sql")
def ask_in_sql(
    question: Annotated[str, typer.Argument(help="One SELECT; the views are explained in README.md.")],
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Longest time for the answer, in seconds.")] = 30,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to show.")] = 1000,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Ask one question in SQL, as a database role that can only read."""
    with records(load_settings(config, os.environ)) as used:
        answer = ask(used.auditor_url, question, timeout_seconds=timeout, most=limit)
    print_rows(answer.columns, answer.rows, as_json, as_csv)
    if answer.cut:
        typer.echo(f"only the first {limit} rows are shown; --limit shows more", err=True)


@app.command("verify")
def verify_images(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Hash every stored image anew and compare with the records; exit code 1 when one is altered or missing."""
    loaded = load_settings(config, os.environ)
    with reading(loaded) as session:
        checked = [(evidence, fault) for evidence, fault in verify(session, loaded.home / "images")]
    faults = [fault_row(evidence, fault) for evidence, fault in checked if fault]
    if as_json:
        print_json({"checked": len(checked), "faults": faults})
    else:
        for one in faults:
            typer.echo(f"{one['what']} of inspection {one['inspection_id']}: {one['fault']}")
        typer.echo(f"{len(checked)} images checked, {len(faults)} altered or missing")
    raise typer.Exit(1 if faults else 0)


@app.command("replay")
def replay_inspection(
    name: Annotated[str, typer.Argument(help="An inspection's id, or a part's.", metavar="INSPECTION")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the stored images again with the model of that day; exit code 1 when a score differs."""
    loaded = load_settings(config, os.environ)
    with reading(loaded) as session:
        views = replay(session, name, loaded.home)
    shown = [{**asdict(view), "same": view.same} for view in views]
    print_rows(list(shown[0]), shown, as_json, False)
    raise typer.Exit(0 if all(view.same for view in views) else 1)


def fault_row(evidence: audit.StoredEvidence, fault: str) -> dict[str, Any]:
    facts = {"sha256": evidence.sha256, "what": evidence.what, "inspection_id": evidence.inspection_id}
    return {**facts, "fault": fault}


def show(found: list[Row], what: str, as_json: bool, as_csv: bool) -> None:
    """Print what was found; nothing found is exit code 1, in every form."""
    every = list(found[0]) if found else []
    if found or as_json:
        print_rows(every if as_json or as_csv else SHOWN, found, as_json, as_csv)
    if not found:
        raise NotOnRecord(f"no {what} is on record")


def print_rows(columns: Any, rows: list[Row], as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(columns, rows)
    else:
        print_table(columns, rows)
