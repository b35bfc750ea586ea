"""`adline model` for versions: list, show, deploy, roll back, watch, evaluate, export, prune."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from cli.threshold import moment
from orchestrator.configuration import load_settings
from orchestrator.registry import Registry
from orchestrator.registry_access import account, change, looking, person
from storage import deployments, snapshots
from storage.deployments import Alias
from storage.errors import SecondPersonNeeded

app = typer.Typer()
VERSIONS = ("id", "recipe", "aliases", "created_at", "snapshot", "gate", "promise")
DEPLOYMENTS = (
    *("deployment_id", "recipe", "alias", "model_version", "share", "deployed_at", "deployed_by", "approved_by"),
    *("last_swapped_at", "reason"),
)
REQUESTS = ("request_id", "recipe", "alias", "model_version", "requested_by", "reason", "state", "answered_by")
CHANGED = ("inspection_id", "part_id", "station", "score", "challenger_score", "judged", "would_be")
JUDGED_ANEW = ("inspection_id", "part_id", "station", "before_score", "score", "before", "now", "on_record")

Version = Annotated[str, typer.Argument(help="Model version, as `adline model list` shows it.", metavar="VERSION")]
RecipeName = Annotated[str, typer.Argument(help="The recipe.", metavar="RECIPE")]
OneRecipe = Annotated[str | None, typer.Option("--recipe", help="This recipe alone.")]
Reason = Annotated[str, typer.Option(help="Why; it stays on record.")]
By = Annotated[str | None, typer.Option(help="Who; else the name of this account.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", exists=True, dir_okay=False, help="A file with your API token: it shows who you are."),
]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until every inference worker follows.")]


@app.command("list")
def list_versions(recipe: OneRecipe = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Model versions, the newest of each recipe first, with the aliases they hold."""
    with looking(load_settings(config, os.environ)) as registry:
        found = registry.listed(recipe)
    print_json(found) if as_json else print_table(VERSIONS, found)


@app.command()
def show(version: Version, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """All that is on record of a version; exit code 1 when its files are missing or altered."""
    loaded = load_settings(config, os.environ)
    with looking(loaded) as registry:
        found = registry.shown(version)
    if as_json:
        print_json(found)
    else:
        for name in ("id", "recipe", "detector", "created_at", "parent", "snapshot", "training_run", "code_version"):
            typer.echo(f"{name:<14}{found[name] if found[name] is not None else '-'}")
        typer.echo(f"{'sha256':<14}{found['sha256']} ({found['files']})")
        typer.echo(f"{'thresholds':<14}OK below {found['ok_threshold']:.4f}, NG from {found['ng_threshold']:.4f}")
        typer.echo(f"{'gate':<14}{found['gate'] or found['promise'] or '-'}")
        typer.echo(f"{'report':<14}{loaded.home / found['report'] if found['report'] else '-'}")
        print_table(("watched", "verdict", "parts", "first_at", "last_at"), found["parts"])
        print_table(DEPLOYMENTS, found["deployments"])
    raise typer.Exit(0 if found["files"] == "intact" else 1)


@app.command()
def deploy(
    version: Version,
    reason: Reason,
    alias: Annotated[Alias, typer.Option("--as", help="champion judges, canary a share, challenger watches.")] = (
        Alias.CHAMPION
    ),
    share: Annotated[float, typer.Option(help="Share of parts of a canary or challenger: above 0, at most 1.")] = 1.0,
    by: By = None,
    token_file: TokenFile = None,
    wait: Wait = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a version, or ask for it where two persons are needed; waits for the workers of a running line."""

    def act(registry: Registry) -> dict[str, Any]:
        who = person(registry.session, token_file)
        registry.refuse_unnamed(version, who)
        return registry.deploy(version, who or by or account(), reason, alias, share)

    tell(change(load_settings(config, os.environ), act, wait), as_json)


@app.command()
def rollback(
    recipe: RecipeName,
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", help="This former champion; else the version before.")] = None,
    by: By = None,
    wait: Wait = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a former champion champion again; waits for the workers of a running line."""
    done = change(
        load_settings(config, os.environ),
        lambda registry: registry.roll_back(recipe, by or account(), reason, to),
        wait,
    )
    tell(done, as_json)


@app.command()
def withdraw(
    recipe: RecipeName,
    alias: Annotated[Alias, typer.Argument(help="canary or challenger.")],
    reason: Reason,
    by: By = None,
    wait: Wait = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """From now on nobody is the recipe's canary, or challenger."""
    done = change(
        load_settings(config, os.environ),
        lambda registry: registry.withdraw(recipe, alias, by or account(), reason),
        wait,
    )
    tell(done, as_json)


Request = Annotated[int, typer.Argument(min=1, help="Number of the request, as `adline model requests` shows it.")]


@app.command()
def approve(
    request: Request,
    token_file: TokenFile = None,
    reason: Annotated[str, typer.Option(help="What you say to it.")] = "",
    wait: Wait = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """As the second person, let a requested deployment happen."""

    def act(registry: Registry) -> dict[str, Any]:
        who = person(registry.session, token_file)
        if who is None:
            raise SecondPersonNeeded("show who you are with --token-file (an API token of `adline user token add`)")
        return registry.answer(request, who, True, reason)

    tell(change(load_settings(config, os.environ), act, wait), as_json)


@app.command()
def refuse(
    request: Request,
    reason: Reason,
    token_file: TokenFile = None,
    by: By = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no to a requested deployment."""

    def act(registry: Registry) -> dict[str, Any]:
        return registry.answer(request, person(registry.session, token_file) or by or account(), False, reason)

    tell(change(load_settings(config, os.environ), act, 0), as_json)


@app.command()
def requests(recipe: OneRecipe = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Deployments that need a second person, the newest first."""
    with looking(load_settings(config, os.environ)) as registry:
        found = deployments.requests(registry.session, recipe)
    print_json(found) if as_json else print_table(REQUESTS, found)


@app.command()
def history(
    recipe: Annotated[str | None, typer.Argument(help="This recipe alone.", metavar="[RECIPE]")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who held which alias from when to when, set by whom, and why; the newest first."""
    with looking(load_settings(config, os.environ)) as registry:
        found = registry.history(recipe, limit)
    print_json(found) if as_json else print_table(DEPLOYMENTS, found)


@app.command()
def shadow(
    recipe: RecipeName,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most changed parts to show.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How the recipe's challenger differs from who judged the parts that it watched."""
    with looking(load_settings(config, os.environ)) as registry:
        found = registry.shadow(recipe, limit)
    if as_json:
        print_json(found)
        return
    state = "watches" if found["watches"] else "watched"
    typer.echo(f"{recipe}: challenger {found['challenger']} {state} since {found['deployed_at']:%Y-%m-%d %H:%M:%S}")
    for one in found["beside"]:
        correlation = "-" if one["rank_correlation"] is None else f"{one['rank_correlation']:.3f}"
        typer.echo(
            f"  beside {one['model_version']}: {one['differ']} of {one['parts']} parts would be judged otherwise "
            f"({one['stricter']} worse, {one['milder']} better), rank correlation of the scores {correlation}"
        )
    typer.echo(f"  not scored: {found['not_scored']} parts")
    print_table(CHANGED, found["changed"])


@app.command()
def evaluate(
    version: Version,
    against: Annotated[str | None, typer.Option(help="This version; else the recipe's champion.")] = None,
    since: Annotated[str | None, typer.Option(help="First day or moment, such as 2026-11-23T06:00; else all.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day, or the moment before which parts count.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Only parts whose frames are in this dataset snapshot.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge stored frames by a version and by another: which parts would be judged otherwise."""
    from orchestrator.evaluation import evaluate as judge_anew  # torch is heavy: only where it is used

    begun = moment(since, "--since") if since else datetime(1970, 1, 1, tzinfo=UTC)
    ended = moment(until, "--until", last=True) if until else datetime(9999, 1, 1, tzinfo=UTC)
    loaded = load_settings(config, os.environ)
    with looking(loaded) as registry:
        only = snapshots.frames(registry.session, snapshot) if snapshot else None
        found = judge_anew(registry, loaded.home / "images", version, against, begun, ended, only).shown()
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found['version']} against {found['against']}: {len(found['changed'])} of {found['parts']} parts would be "
        f"judged otherwise; {len(found['lost'])} could not be scored again"
    )
    print_table(JUDGED_ANEW, found["changed"][:50])
    if len(found["changed"]) > 50:
        typer.echo(f"only the first 50 of {len(found['changed'])} changed parts; --json lists all")
    for one in found["lost"][:10]:
        typer.echo(f"{one['inspection_id']}: {one['why']}", err=True)


@app.command()
def export(
    version: Version,
    file: Annotated[Path, typer.Argument(help="File to write, such as model.tar; it must not be there yet.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version's files with a model card: where it came from, what it is worth, where it was deployed."""
    from orchestrator.model_archive import write_archive

    with looking(load_settings(config, os.environ)) as registry:
        digest = write_archive(registry, version, file)
    print_json({"file": str(file), "version": version, "sha256": digest}) if as_json else typer.echo(
        f"{file}: model {version}, SHA-256 {digest}"
    )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file of `adline model export`.")],
    as_json: JsonOption = False,
) -> None:
    """Check an exported version: every file against its card; exit code 1 when one was altered."""
    from orchestrator.model_archive import read_card

    card = read_card(file)
    print_json(card) if as_json else typer.echo(f"{file}: model {card['id']}, intact, SHA-256 {card['sha256']}")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="Candidates of each recipe to keep that never were used.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove files of candidates that never judged a part and never were deployed; their rows stay."""
    with looking(load_settings(config, os.environ)) as registry:
        removed = registry.prune(keep)
    print_json({"removed": removed}) if as_json else typer.echo(f"{len(removed)} removed: {', '.join(removed) or '-'}")


def tell(made: dict[str, Any], as_json: bool) -> None:
    """What came of it, and how the workers followed; exit code 1 when not all of them did."""
    workers = made.get("workers")
    if as_json:
        print_json(made)
    else:
        typer.echo(in_words(made))
        for name, why in (workers or {}).get("refused", {}).items():
            typer.echo(f"{name} keeps the version before: {why}", err=True)
    raise typer.Exit(0 if workers is None or workers["complete"] else 1)


def in_words(made: dict[str, Any]) -> str:
    if made["state"] == "refused":
        return f"request {made['request_id']}: refused"
    what = f"{made['recipe']}: {made['alias']} {made['model_version']}"
    if made["state"] == "waiting":
        return f"{what} waits as request {made['request_id']} for another engineer or admin (`adline model approve`)"
    if made["share"] == 0:
        what = f"{made['recipe']}: {made['model_version']} is {made['alias']} no more"
    workers = made.get("workers")
    if workers is None:
        return f"{what}: on record; no line runs that would have to follow"
    seconds = workers["last_swapped_seconds"]
    if workers["complete"] and seconds is not None:
        return f"{what}: the last of {len(workers['workers'])} inference workers followed after {seconds:.2f} s"
    late = sorted(set(workers["workers"]) - set(workers["swapped_seconds"]))
    return f"{what}: on record; not yet followed by {', '.join(late) or 'any worker'}"
