"""`adline dataset snapshot|list|show|import|verify|set-aside|challenge`: immutable versions of labelled images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator import snapshots as line_snapshots
from orchestrator.archive import reading, writing
from orchestrator.configuration import load_settings
from orchestrator.users import console
from storage import snapshots

Name = Annotated[str, typer.Argument(help="Name of the snapshot, as list prints it.", metavar="NAME")]
Recipe = Annotated[str | None, typer.Option(help="Recipe; not needed where the line has one.")]
Reason = Annotated[str, typer.Option(help="Why; it stays on record.")]
LISTED = ("name", "recipe", "created_at", "created_by", "parent", "images", "train", "test", "set_aside", "unfit")
ASIDE = ("reason", "sha256", "part_key", "is_anomaly", "decided_by", "used", "released_by", "detail")
CHALLENGE = ("recipe", "part_key", "added_at", "added_by", "reason")

set_aside = typer.Typer(no_args_is_help=True, help="Images that a snapshot put before an engineer.")
challenge = typer.Typer(
    no_args_is_help=True, help="Parts that no model is taught from, and that every candidate and champion is judged on."
)


OTHER_COMMANDS = ("list", "show", "export", "import", "verify", "set-aside", "challenge")


def snapshot(
    context: typer.Context,
    recipe: Recipe = None,
    name: Annotated[str | None, typer.Option(help="Its name; else <YYYYMMDD>_V<n>_<description>.")] = None,
    description: Annotated[str, typer.Option(help="What it is for; else the recipe's name.")] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Makes the split of new parts repeatable. Not given: the recipe's."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a snapshot of a recipe's labels, images, masks and splits; what looks wrong is set aside."""
    if context.args:
        refuse_words(context.args)
    loaded = load_settings(config, os.environ)
    with Console(stderr=True, quiet=as_json).status("gathering labels") as status:

        def progress(done: int, whole: int) -> None:
            status.update(f"looking at images: {done} of {whole}")

        found = line_snapshots.take(loaded, recipe, name, description, seed, progress)
    print_json(found) if as_json else typer.echo(in_words(found))


def refuse_words(words: list[str]) -> None:
    """`adline dataset snapshot list` would be read as taking a snapshot: say which command is meant."""
    if words[0] in OTHER_COMMANDS:
        raise typer.BadParameter(
            f"use `adline dataset {' '.join(words)}`: snapshot alone takes one", param_hint=words[0]
        )
    raise typer.BadParameter("a snapshot's name is given with --name", param_hint=words[0])


def listed(recipe: Recipe = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Snapshots, the oldest first."""
    with reading(load_settings(config, os.environ)) as session:
        found = [line_snapshots.shown(one) for one in snapshots.listed(session, recipe)]
    if as_json:
        print_json(found)
    else:
        print_table(LISTED, [one | in_short(one["counts"]) for one in found])


def show(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What a snapshot holds, by which rules it was made, and with --json every image with its label."""
    with reading(load_settings(config, os.environ)) as session:
        found = line_snapshots.shown(snapshots.find(session, name))
        if as_json:
            images = line_snapshots.items_shown(session, name)
            print_json(found | {"items": images, "aside": snapshots.aside_shown(session, name)})
        else:
            typer.echo(in_words(found))


def bring_in(
    folder: Annotated[Path, typer.Argument(help="Folder that `adline dataset export` wrote.", metavar="DIR")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put an exported snapshot on record under its own name, after checking every file."""
    from workers.snapshots.exchange import bring_in  # reads images: `adline --help` must not wait for it

    loaded = load_settings(config, os.environ)
    with writing(loaded) as session:
        found = line_snapshots.shown(bring_in(session, line_snapshots.image_store(loaded), folder, console()))
    print_json(found) if as_json else typer.echo(in_words(found))


def verify(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Recompute SHA-256 and MD5 of every image and mask and of the manifest; exit code 1 names what differs."""
    from workers.snapshots.verify import verify  # reads images: `adline --help` must not wait for it

    loaded = load_settings(config, os.environ)
    with reading(loaded) as session:
        found = verify(session, line_snapshots.image_store(loaded), name)
    if as_json:
        print_json({**vars(found), "ok": found.ok, "problems": [vars(problem) for problem in found.problems]})
    else:
        for problem in found.problems:
            typer.echo(str(problem))
        word = "as recorded" if found.ok else f"{len(found.problems)} differences"
        typer.echo(f"{name}: {found.images} images and {found.masks} masks: {word}")
    raise typer.Exit(0 if found.ok else 1)


def export(name: str, out: Path, config: Path | None, as_json: bool) -> None:
    """A snapshot as a folder."""
    from workers.snapshots.exchange import export  # reads images: `adline --help` must not wait for it

    loaded = load_settings(config, os.environ)
    with reading(loaded) as session:
        images = export(session, line_snapshots.image_store(loaded), name, out)
    print_json({"snapshot": name, "folder": out, "images": images}) if as_json else typer.echo(
        f"{out}: {images} images"
    )


@set_aside.command("list")
def list_aside(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What a snapshot set aside, why, and who released it since."""
    with reading(load_settings(config, os.environ)) as session:
        snapshots.find(session, name)
        found = snapshots.aside_shown(session, name)
    print_json(found) if as_json else print_table(ASIDE, found)


@set_aside.command()
def release(
    name: Name,
    image: Annotated[str, typer.Argument(help="SHA-256 of the image, or its beginning.", metavar="SHA256")],
    reason: Reason,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the next snapshot use an image with the label it has; a later label on it is looked at anew."""
    said = given(reason)
    with writing(load_settings(config, os.environ)) as session:
        found = snapshots.release(session, name, image, console(), said)
    told = {"snapshot": name, "sha256": image, "released_from": found, "released_by": console(), "reason": said}
    print_json(told) if as_json else typer.echo(f"{image}: released ({', '.join(found)}); the next snapshot uses it")


@challenge.command("add")
def add_challenge(
    part: Annotated[str, typer.Argument(help="Serial number of the part, or SHA-256 of an image of it.")],
    reason: Reason,
    recipe: Recipe = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """From now on no training sees this part; refused when one has."""
    loaded, said = load_settings(config, os.environ), given(reason)
    chosen = line_snapshots.chosen_recipe(loaded, recipe)
    with writing(loaded) as session:
        found = line_snapshots.add_challenge(session, chosen, part, said)
    print_json(found) if as_json else typer.echo(f"{found['part_key']}: a challenge part of {chosen}")


@challenge.command("list")
def list_challenge(recipe: Recipe = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The challenge parts, in the order of adding."""
    with reading(load_settings(config, os.environ)) as session:
        found = [line_snapshots.challenge_shown(one) for one in snapshots.challenge(session, recipe)]
    print_json(found) if as_json else print_table(CHALLENGE, found)


def given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    return reason.strip()


def in_short(counts: dict[str, Any]) -> dict[str, Any]:
    sides = {side: counts[side]["images"] for side in ("train", "test")}
    return {"images": counts["images"], **sides, "set_aside": counts["set_aside_images"]}


def in_words(found: dict[str, Any]) -> str:
    counts = found["counts"]
    sides = (
        f"  {side}: {counts[side]['images']} images of {counts[side]['parts']} parts "
        f"({counts[side]['normal']} normal, {counts[side]['anomaly']} anomaly)"
        for side in ("train", "validation", "test", "challenge")
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts["set_aside"].items()) or "nothing"
    return "\n".join(
        [
            f"{found['name']}: {counts['images']} images, {counts['taught']} of them known-good to begin with",
            f"  SHA-256 {found['sha256']}, split by {counts['split_by']}, parent {found['parent'] or 'none'}",
            *sides,
            f"  listed for an engineer: {reasons}; {counts['set_aside_images']} images are not used; "
            f"{counts['cannot_tell']} labels say cannot tell",
            *([f"  unfit to train from: {found['unfit']}"] if found["unfit"] else []),
        ]
    )
