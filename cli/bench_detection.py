"""`adline bench detection`: how well a detector judges a data set, and how fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from cli.model import ModelsFolder, folder_of
from cli.option import JsonOption
from orchestrator.recipe import Recipe
from workers.detectors.weight_folder import LITE

if TYPE_CHECKING:
    from workers.datasets.judging import Teaching
    from workers.detectors.registry import Weights

# Torch and scikit-learn are imported inside the command: they take seconds, and `adline --help` must not.


Data = Annotated[Path, typer.Option(help="Folder of the data set: MVTec layout, meta.json, label CSV or COCO.")]
DetectorName = Annotated[str | None, typer.Option(help="Which detector; else the default of a recipe.")]
Backbone = Annotated[
    str | None, typer.Option(help="CLIP weights whose visual tower patchcore sees with, MODEL:TAG; else its own.")
]
Layers = Annotated[
    list[int] | None, typer.Option("--layer", min=1, help="A block of that tower to look at; give several.")
]
Product = Annotated[str | None, typer.Option(help="Which product, where the data set has several.")]
Clip = Annotated[str | None, typer.Option(help="CLIP weights of anomalyclip, MODEL:TAG.")]
Prompts = Annotated[str | None, typer.Option(help="Learned prompts of anomalyclip.")]
Seed = Annotated[int, typer.Option(min=0, help="Makes teaching repeatable.")]
FalseRejectRate = Annotated[
    float | None, typer.Option(help="Of good parts, instead of a recipe's default.", min=0.001, max=0.499)
]
ZeroShot = Annotated[
    bool, typer.Option("--zero-shot", help="anomalyclip learns from no image, as on day 0, and is not calibrated.")
]
Labels = Annotated[
    int | None, typer.Option(min=0, help="With so many labels too, in 5 folds by group; 0: with all there are.")
]
Ask = Annotated[
    bool, typer.Option("--ask", help="With --labels: those it is least sure of; else they are drawn at random.")
]
Draws = Annotated[int | None, typer.Option(min=1, help="With --labels: how many times the 5 folds are drawn; else 3.")]
FineTuneFrom = Annotated[
    int | None, typer.Option(min=0, help="With --labels: as the recipe's retrain.fine_tune_from, instead of it.")
]
Resamplings = Annotated[
    int,
    typer.Option(min=0, help="Teach anew so often from good parts drawn at random; are false rejects as promised?"),
]
Peer = Annotated[Literal["anomalib"] | None, typer.Option(help="Measure this library's PatchCore too.")]
Html = Annotated[Path | None, typer.Option(help="Write curves, histograms and heat maps as one page.")]


def detection(
    data: Data,
    detector: DetectorName = None,
    backbone: Backbone = None,
    layers: Layers = None,
    product: Product = None,
    clip: Clip = None,
    prompts: Prompts = None,
    models: ModelsFolder = None,
    seed: Seed = 0,
    false_reject_rate: FalseRejectRate = None,
    zero_shot: ZeroShot = False,
    labels: Labels = None,
    ask: Ask = False,
    draws: Draws = None,
    fine_tune_from: FineTuneFrom = None,
    resamplings: Resamplings = 0,
    peer: Peer = None,
    html: Html = None,
    as_json: JsonOption = False,
) -> None:
    """Teach a detector the good images of train, let it judge test, and print the figures."""
    from workers.datasets.judging import Teaching
    from workers.datasets.peer import require_anomalib

    refuse_contradictions(detector, zero_shot, labels, ask)
    if peer:
        require_anomalib()
    recipe = Recipe.model_validate({"detector": detector} if detector == "anomalyclip" else {})
    teaching = Teaching(
        detector or recipe.detector,
        recipe.image_size,
        false_reject_rate or recipe.target_false_reject_rate,
        recipe.review_share,
        seed,
        standing(detector or recipe.detector, models, backbone, layers, clip, prompts),
        zero_shot,
    )
    least = recipe.retrain.fine_tune_from if fine_tune_from is None else fine_tune_from
    wish = None if labels is None else LabelWish(labels or None, ask, draws, least)
    console = Console(stderr=True, quiet=as_json)
    with console.status("reading") as status:
        report = measured(data, product, teaching, wish, resamplings, peer is not None, html, status.update)
    if teaching.detector == "patchcore":
        report["backbone"] = backbone or LITE
    for warning in report["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(json.dumps(report) if as_json else in_words(report))


class LabelWish(NamedTuple):
    """What `labelled_trial` is to try."""

    labels: int | None
    asked: bool
    draws: int | None
    fine_tune_from: int


def refuse_contradictions(detector: str | None, zero_shot: bool, labels: int | None, ask: bool) -> None:
    if ask and not labels:
        raise typer.BadParameter("goes with --labels, 1 or more", param_hint="--ask")
    if zero_shot and detector != "anomalyclip":
        raise typer.BadParameter(f"anomalyclip can, given {detector or 'no --detector'}", param_hint="--zero-shot")
    if zero_shot and labels is not None:
        raise typer.BadParameter("learns from no label: give it or --labels", param_hint="--zero-shot")


def measured(
    data: Path,
    product: str | None,
    teaching: Teaching,
    wish: LabelWish | None,
    resamplings: int,
    beside_anomalib: bool,
    html: Path | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """All figures that are asked for, and the page."""
    from workers.datasets.benchmark import figures
    from workers.datasets.benchmark_page import benchmark_page
    from workers.datasets.folds import all_to_judge, one_product, with_split
    from workers.datasets.judging import attempt
    from workers.datasets.labelled_trial import labelled_trial
    from workers.datasets.leaks import leak_warnings
    from workers.datasets.peer import measure_anomalib
    from workers.datasets.read import read
    from workers.datasets.resampling import resampled_on
    from workers.detectors.tail_configuration import TailConfiguration

    chosen = one_product(read(data), product)
    dataset = all_to_judge(chosen) if teaching.zero_shot else with_split(chosen, teaching.seed)
    warnings = [] if teaching.zero_shot else leak_warnings(dataset)
    trial = attempt(dataset, teaching, tell)
    if not trial.detector.calibration.good_raw_scores:
        warnings.append(UNCALIBRATED)
    report = figures(dataset, trial) | {"warnings": warnings}
    if resamplings:
        report["false_rejects_resampled"] = resampled_on(dataset, trial.detector, resamplings, teaching.seed, tell)
    if wish is not None:
        tail = TailConfiguration(least_labels=wish.fine_tune_from)
        asked, draws = wish.asked, wish.draws
        report["with_labels"] = labelled_trial(dataset, teaching, wish.labels, tell, tail, asked=asked, count=draws)
    if beside_anomalib:
        theirs = measure_anomalib(dataset, teaching.image_size, teaching.seed, tell)
        ratio = report["images_per_second"] / theirs["images_per_second"]
        report["peer"] = theirs | {"images_per_second_ratio": ratio}
    if html is not None:
        html.write_text(benchmark_page(dataset, trial, report), encoding="utf-8")
    return report


UNCALIBRATED = "no known-good part was learned from: decisions are those at 0.5, where nothing is promised"


def standing(
    detector: str,
    models: Path | None,
    backbone: str | None,
    layers: list[int] | None,
    clip: str | None,
    prompts: str | None,
) -> Weights | None:
    """What the detector is to stand on, as the options name it."""
    from workers.detectors.anomalyclip_teaching import Source
    from workers.detectors.backbone import BackboneSource

    if backbone is None or backbone == LITE:
        if layers:
            raise typer.BadParameter("goes with --backbone, a CLIP's", param_hint="--layer")
        return Source(folder_of(models), clip, prompts, {}) if clip and prompts else None
    if detector != "patchcore":
        raise typer.BadParameter(f"patchcore has one, given {detector}", param_hint="--backbone")
    return BackboneSource(folder_of(models), backbone, tuple(layers) if layers else None)


def in_words(report: dict[str, Any]) -> str:
    classes = "\n".join(
        f"  {name:<16} {one['images']:>5} images, AUROC {one['image_auroc']:.3f}, caught {one['recall']:.1%}"
        for name, one in report["classes"].items()
    )
    seen = f" on {report['backbone']}" if "backbone" in report else ""
    return (
        f"{report['detector']}{seen}: {report['images']} images judged, {report['anomalies']} of them anomalies\n"
        f"image AUROC {report['image_auroc']:.3f}, AP {report['image_ap']:.3f}, best F1 {report['f1_best']:.3f}\n"
        f"at {'the threshold' if report['calibrated'] else '0.5, not calibrated'}: F1 {report['f1']:.3f}, "
        f"precision {report['precision']:.3f}, recall {report['recall']:.3f}, "
        f"good parts rejected {report['false_reject_rate']:.1%} ({promised_in_words(report)})\n"
        f"{kept_in_words(report)}"
        f"pixel AUROC {share(report['pixel_auroc'])}, AUPRO {share(report['aupro'])}\n"
        f"{report['images_per_second']:.1f} images/s from file to score; taught in {report['fit_seconds']:.1f} s\n"
        f"{classes}{labelled_in_words(report['with_labels']) if 'with_labels' in report else ''}"
        f"{beside(report['peer']) if 'peer' in report else ''}"
    )


def promised_in_words(report: dict[str, Any]) -> str:
    low, high = report["false_reject_interval"]
    return f"promised {low:.1%} to {high:.1%}" if report["calibrated"] else "nothing is promised"


def kept_in_words(report: dict[str, Any]) -> str:
    """Nothing where it was not asked for."""
    if "false_rejects_resampled" not in report:
        return ""
    found = report["false_rejects_resampled"]
    if found is None:
        return "false rejects of parts to come: nothing is promised, so nothing was taught anew\n"
    return (
        f"taught anew {found['resamplings']} times from {found['parts_taught']} good parts drawn at random: "
        f"of {found['parts_to_come']} others {found['false_reject_rate']:.1%} rejected on average; as many as promised "
        f"{found['inside']} times with 99% confidence, {found['inside_95']} times with 95%\n"
    )


def labelled_in_words(found: dict[str, Any]) -> str:
    mean, spread = found["mean"], found["spread"]
    named = (("image AUROC", "image_auroc"), ("best F1", "f1_best"), ("F1 at a threshold set before", "f1"))
    figures = ", ".join(f"{name} {mean[key]:.3f} (sd {spread[key]:.3f})" for name, key in named)
    told = "all" if found["labels"] is None else found["labels"]
    return f"\nwith {told} labels, {found['folds']} folds by group and {len(found['seeds'])} seeds: {figures}"


def beside(peer: dict[str, Any]) -> str:
    return (
        f"\n{peer['library']}: image AUROC {peer['image_auroc']:.3f}, best F1 {peer['f1_best']:.3f}, "
        f"pixel AUROC {share(peer['pixel_auroc'])}, AUPRO {share(peer['aupro'])}, "
        f"{peer['images_per_second']:.1f} images/s, taught in {peer['fit_seconds']:.1f} s; "
        f"ours is {peer['images_per_second_ratio']:.2f} times as fast"
    )


def share(value: float | None) -> str:
    return "unknown (no masks or boxes)" if value is None else f"{value:.3f}"
