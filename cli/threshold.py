"""`adline threshold`: what judges the scores, what it promises, and what other thresholds would have done."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import Row, print_csv, print_json, print_table
from orchestrator.archive import reading, writing
from orchestrator.configuration import load_settings
from orchestrator.simulation import Simulation, simulate
from orchestrator.thresholds import Wish, set_thresholds, show
from orchestrator.users import console

# Importing the detectors' calibration takes no torch: these commands answer in about a second.

app = typer.Typer(
    no_args_is_help=True, help="Thresholds: show what they promise, set them, try others on stored scores."
)
CHANGED = ("triggered_at", "station", "part_id", "anomaly_score", "then", "now", "reason", "inspection_id")
MOST_SHOWN = 50

OkOption = Annotated[float | None, typer.Option("--ok", min=0, max=1, help="Below this score a part is OK.")]
NgOption = Annotated[float | None, typer.Option("--ng", min=0, max=1, help="From this score on a part is NG.")]
RateOption = Annotated[
    float | None,
    typer.Option("--false-reject-rate", help="Compute both from held-out good parts: the share of them to reject."),
]
ShareOption = Annotated[
    float | None,
    typer.Option("--review-share", min=0, max=1, help="With --false-reject-rate: share of good parts put to REVIEW."),
]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="This recipe alone.")]


@app.command("show")
def show_thresholds(
    recipe: Annotated[str | None, typer.Argument(help="This recipe alone.", metavar="[RECIPE]")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The deployed models' thresholds, what they promise about false rejects, and what was observed."""
    with reading(load_settings(config, os.environ)) as session:
        found = show(session, recipe)
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("no model is deployed")
    else:
        typer.echo("\n\n".join(map(in_words, found)))


@app.command("set")
def set_new_thresholds(
    recipe: Annotated[str, typer.Argument(help="The recipe whose deployed model gets them.", metavar="RECIPE")],
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    ok: OkOption = None,
    ng: NgOption = None,
    false_reject_rate: RateOption = None,
    review_share: ShareOption = None,
    by: Annotated[str | None, typer.Option(help="Who; else console:<this account>.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set thresholds as a new record; a running line takes them between two batches, within a second or two."""
    wish = wished(ok, ng, false_reject_rate, review_share)
    if wish == Wish():
        raise typer.BadParameter("give --ok, --ng or both, or --false-reject-rate")
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    with writing(load_settings(config, os.environ)) as session:
        found = set_thresholds(session, recipe, wish, by or console(), reason.strip())
    if as_json:
        print_json(found)
    else:
        typer.echo(in_words(found))


@app.command("simulate")
def simulate_thresholds(
    since: Annotated[str, typer.Option("--from", help="First moment or day, such as 2026-11-23 or 2026-11-23T06:00.")],
    until: Annotated[str, typer.Option("--to", help="Last day, or the moment before which parts count; UTC.")],
    ok: OkOption = None,
    ng: NgOption = None,
    false_reject_rate: RateOption = None,
    review_share: ShareOption = None,
    recipe: RecipeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the changed parts as CSV.")] = False,
) -> None:
    """Judge stored scores anew, by today's thresholds or others: how many parts of each station would be what."""
    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    wish = wished(ok, ng, false_reject_rate, review_share)
    begun, ended = moment(since, "--from"), moment(until, "--to", last=True)
    if ended <= begun:
        raise typer.BadParameter(f"{until} is not after {since}", param_hint="--to")
    with reading(load_settings(config, os.environ)) as session:
        found = simulate(session, begun, ended, wish, recipe)
    if as_json:
        print_json({"from": begun, "to": ended, **found.shown()})
    elif as_csv:
        print_csv((*CHANGED, "recipe", "model_version"), found.shown()["changed"])
    else:
        print_simulation(found)


def wished(ok: float | None, ng: float | None, false_reject_rate: float | None, review_share: float | None) -> Wish:
    """What was asked for; what contradicts itself is wrong usage."""
    if false_reject_rate is not None and not 0 < false_reject_rate < 1:
        raise typer.BadParameter(
            f"given {false_reject_rate}, allowed above 0, below 1", param_hint="--false-reject-rate"
        )
    if false_reject_rate is not None and (ok is not None or ng is not None):
        raise typer.BadParameter("--false-reject-rate computes both: give it, or --ok and --ng")
    if review_share is not None and false_reject_rate is None:
        raise typer.BadParameter("goes with --false-reject-rate", param_hint="--review-share")
    return Wish(ok, ng, false_reject_rate, review_share)


def moment(given: str, option: str, *, last: bool = False) -> datetime:
    """A day or a moment in ISO 8601, in UTC when it names no zone; as an end, a day counts as a whole."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError as error:
        raise typer.BadParameter(
            f"given {given!r}, allowed 2026-11-23 or 2026-11-23T06:00", param_hint=option
        ) from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    is_day = last and len(given) <= len("2026-11-23")
    return found + timedelta(days=1) if is_day else found


def in_words(found: dict[str, Any]) -> str:
    low, high = found["false_reject_interval"]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found["observed"]["verdicts"].items())
    needed = ", ".join(f"{parts} for {rate}" for rate, parts in found["parts_needed"].items())
    origin = f"set by {found['set_by']} at {found['set_at']:%Y-%m-%d %H:%M}"
    return "\n".join(
        [
            f"{found['recipe']}: model {found['model_version']} ({found['detector']})",
            f"  OK below {found['ok_threshold']:.4f}, NG from {found['ng_threshold']:.4f}; {origin}"
            + (f": {found['reason']}" if found["reason"] else ""),
            f"  false rejects: {found['statement']}",
            f"  interval {low:.4f} to {high:.4f}, from {found['held_out_good_parts']} held-out good parts",
            *to_come(found),
            f"  held-out good parts needed for other rates: {needed}",
            f"  observed: {found['observed']['parts']} parts ({counts})",
            f"  {labels_in_words(found['observed'])}",
        ]
    )


def to_come(found: dict[str, Any]) -> list[str]:
    """Nothing where a person set the threshold: what was counted on held-out parts is all that is known then."""
    told = [f"{low} to {high} of {int(parts):,}" for parts, (low, high) in found["false_rejects_to_come"].items()]
    return [f"  good parts to come that are rejected, with 99% confidence: {', '.join(told)}"] if told else []


def labels_in_words(observed: dict[str, Any]) -> str:
    told = [
        f"{verdict} {said['normal']} normal, {said['anomaly']} anomaly"
        for verdict, said in observed["labels"].items()
        if said["normal"] or said["anomaly"]
    ]
    if not told:
        return "false rejects not known: no part has a label"
    rate, rejects = observed["false_reject_rate"], observed["rejects_that_were_good"]
    words = f"people said: {'; '.join(told)}"
    words += f"; of the labelled NG parts {rejects[0]:.3f} to {rejects[1]:.3f} are good (95 %)" if rejects else ""
    return words + (f"; so {rate:.4f} of good parts are rejected" if rate is not None else "; not enough for a rate")


def print_simulation(found: Simulation) -> None:
    shown = found.shown()
    for one in shown["thresholds"]:
        typer.echo(
            f"{one['recipe']}, model {one['model_version']}: OK below {one['ok_threshold']:.4f}, "
            f"NG from {one['ng_threshold']:.4f}"
        )
    print_table(("station", "parts", "OK", "REVIEW", "NG", "ERROR", "changed"), [row(one) for one in shown["stations"]])
    if shown["changed"]:
        print_table(CHANGED, shown["changed"][:MOST_SHOWN])
    if len(shown["changed"]) > MOST_SHOWN:
        typer.echo(f"only the first {MOST_SHOWN} of {len(shown['changed'])} changed parts; --json or --csv lists all")


def row(station: dict[str, Any]) -> Row:
    """Each verdict as "then → now"."""
    moved = {verdict: f"{count} → {station['now'][verdict]}" for verdict, count in station["then"].items()}
    return {"station": station["station"], "parts": station["parts"], **moved, "changed": station["changed"]}
