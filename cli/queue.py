"""`adline queue`: parts that people decide."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator.configuration import load_settings
from orchestrator.running import RunningLine, require_line

app = typer.Typer(help="Parts that people decide: claim, resolve, import and export labels.", no_args_is_help=True)
SHOWN = ("opened_at", "review_id", "state", "reason", "station", "part_id", "anomaly_score", "holder")
Review = Annotated[UUID, typer.Argument(help="Id of the review, as list and claim print it.", metavar="REVIEW")]
Token = Annotated[int, typer.Option(help="The number that came with the claim.")]


class Decision(StrEnum):
    """What a person may say."""

    NORMAL = "normal"
    ANOMALY = "anomaly"
    CANNOT_TELL = "cannot_tell"


Format = Annotated[
    Literal["csv", "coco", "labelstudio", "mvtec", "meta"],
    typer.Option(help="Label CSV, COCO, Label Studio's JSON, MVTec with masks, or AnomalyCLIP's meta.json."),
]


def line(config: Path | None) -> RunningLine:
    return require_line(load_settings(config, os.environ))


@app.command("list")
def listed(
    state: Annotated[Literal["open", "resolved", "all"], typer.Option(help="Which reviews.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most to show.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reviews, the newest first."""
    chosen = "" if state == "all" else f"&state={state}"
    found: list[dict[str, Any]] = line(config).get(f"/api/v1/reviews?limit={limit}{chosen}")
    print_json(found) if as_json else print_table(SHOWN, found)


@app.command()
def claim(
    review: Annotated[
        UUID | None, typer.Argument(help="This one; else the next by policy.", metavar="[REVIEW]")
    ] = None,
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
    product: Annotated[str | None, typer.Option(help="Only of this product.")] = None,
    policy: Annotated[Literal["oldest", "uncertain", "diverse"] | None, typer.Option(help="Which comes next.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lease a review; exit code 1 when there is none."""
    wish = {"station": station, "product": product, "policy": policy}
    told = {name: value for name, value in wish.items() if value is not None}
    if review:
        leases = [line(config).ask("POST", f"/api/v1/reviews/{review}/claim", None)]
    else:
        leases = line(config).ask("POST", "/api/v1/reviews/claim", told)["reviews"]
    if as_json:
        print_json(leases[0] if leases else None)
    elif leases:
        lease = leases[0]
        typer.echo(f"review {lease['review_id']} token {lease['token']} until {lease['lease_until']}")
    else:
        typer.echo("no review waits")
    raise typer.Exit(0 if leases else 1)


@app.command()
def resolve(
    review: Review,
    decision: Annotated[Decision, typer.Argument(help="What the part is.")],
    token: Token,
    defect: Annotated[list[str] | None, typer.Option(help="Defect class; may be given several times.")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide a review under its lease."""
    said = {"decision": decision.value, "defects": defect or [], "note": note}
    told = line(config).ask("POST", f"/api/v1/reviews/{review}/resolve", {"token": token, "resolution": said})
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{decision.value}: on record" if told["final"] else f"{decision.value}: another person is asked")


@app.command()
def agreement(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """How much people agree beyond chance where two of them decided the same part: Cohen's kappa."""
    found: dict[str, Any] = line(config).get("/api/v1/queue/agreement")
    if as_json:
        print_json(found)
    elif found["overall"] is None:
        typer.echo("no part was decided twice; labeling.second_opinion_share asks a second person")
    else:
        rows = [{"people": "all", **found["overall"]}]
        rows += [{**pair, "people": ", ".join(pair["people"])} for pair in found["pairs"]]
        print_table(("people", "parts", "agreed", "kappa"), rows)


@app.command("export")
def write(
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not be there yet.")],
    format: Format = "csv",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labels that hold, with their images."""
    from orchestrator.labels import export  # reads images: `adline --help` must not wait for it

    images, lost = export(load_settings(config, os.environ), out, format)
    for sentence in lost:
        typer.echo(f"warning: {sentence}", err=True)
    print_json({"images": images, "left_out": lost}) if as_json else typer.echo(f"{out}: {images} labelled images")


@app.command("import")
def read(
    path: Annotated[Path, typer.Argument(help="Folder of the data set, or the CSV file.", exists=True)],
    format: Format = "csv",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put labels on record that were made elsewhere; exit code 1 when a row was refused."""
    from orchestrator.labels import bring_in  # reads images: `adline --help` must not wait for it

    done = bring_in(load_settings(config, os.environ), path, format)
    for row in done.refused:
        typer.echo(f"refused {row.row}: {row.why}", err=True)
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(
            f"{done.recorded} parts labelled, {done.unchanged} images unchanged, {len(done.refused)} rows refused"
        )
    raise typer.Exit(1 if done.refused else 0)
