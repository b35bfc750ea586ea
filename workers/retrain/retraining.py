"""What comes of a champion and new labels: its memory refreshed, and a head on top that learned from the labels.

A champion that learned from labels is learned anew from all of them, on the one-class detector beneath it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from storage.errors import TeachingFailed, TrainingRefused
from storage.snapshot_models import SnapshotItem
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector
from workers.detectors.labelled import LEAST_GROUPS_OF_A_CLASS, Decided
from workers.detectors.patchcore import PatchCore
from workers.detectors.representation import Representation
from workers.detectors.summariser import fold_of
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_teaching import teach
from workers.detectors.supervised_training import beneath, learned
from workers.detectors.tail_configuration import TailConfiguration
from workers.retrain import memory, prompt_lessons
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.run import Run

logger = logging.getLogger(__name__)

KEPT_GOOD: Final = 200
"""Parts decided to be good that no memory takes in: what a head is worth, and its thresholds, come from them."""

NEW_SHARE: Final = 0.1
"""Of the good images: so many may be unknown to a memory that is kept."""

REPRESENTED_SHARE: Final = 0.8
"""A representation that was learned from three of five frames served as well as one of all (AUROC of magnetic tiles
.922 against .918, of solar cells .949 against .950)."""


@dataclass(frozen=True)
class Retrained:
    """A candidate, what was made anew of it, and the images that its one-class detector knows, by SHA-256."""

    detector: Detector
    made: str
    memory: frozenset[str]
    raw_scores: Mapping[str, float] = field(default_factory=dict)
    """Of the images in memory, each by one that does not know it: a run that keeps the memory needs them."""
    represented: Mapping[str, int] = field(default_factory=dict)
    """The images that its representation was learned from, with the folds their parts were in."""


def one_class(champion: Detector) -> Detector:
    """What is beneath the head, where there is one."""
    return champion.base if isinstance(champion, SupervisedDetector) else champion


def retrained(champion: Detector, material: Material, recipe: Mapping[str, Any], run: Run) -> Retrained:
    """The candidate on the champion's one-class detector; TrainingRefused when there is nothing to learn from."""
    base, made = one_class(champion), []
    if isinstance(base, AnomalyCLIPDetector):
        lessons, rest = prompt_lessons.halves(material)
        if prompt_lessons.enough(lessons, rest, fine_tuning(recipe)):
            base = prompt_lessons.learned_on(base, lessons, run)
            made.append(f"prompts from {len(lessons.items)} images, nothing else from these")
        if base.learned.training:  # the champion's, too: what they learned from says nothing of parts to come
            material = rest
    some_bad = len(material.bad_parts()) >= LEAST_GROUPS_OF_A_CLASS
    both = some_bad and len(material.good_parts()) >= LEAST_GROUPS_OF_A_CLASS
    judged = some_bad and bool(material.raw_scores)  # good parts that it knows, by a memory without them
    if (both or judged) and isinstance(base, PatchCore) and base.eye.look is not None:
        if memory_will_do(material) and (kept := on_memory(champion, material, run, fine_tuning(recipe))):
            return kept
        try:
            return everything_anew(base, material, run, fine_tuning(recipe))
        except TeachingFailed as error:  # too few good parts to hold some out: the memory stays as it is
            logger.info("not everything is learned anew: %s", error)
    new = refreshing(material.good_parts(), kept_good(base, material) if both else 0, run.row.seed)
    if new:
        images = [item for item in material.items if material.is_taught(item) or item.part_key in new]
        base = remembered(base, images, material, recipe, run)
        material = replace(material, known=material.known | {item.sha256 for item in images})
        made.append(f"memory of {len(images)} good images, {len(new)} newly decided parts among them")
    known = frozenset(item.sha256 for item in material.items if material.is_taught(item))
    if not both:
        if not new:
            raise TrainingRefused(
                f"{len(material.good_parts())} good and {len(material.bad_parts())} defective parts are new; a memory "
                f"needs a good part, a head at least {LEAST_GROUPS_OF_A_CLASS} of each kind"
            )
        return Retrained(base, "; ".join(made), known)
    detector = with_head(base, representation_of(champion, base, material), material, run, fine_tuning(recipe))
    made.append(of_labels(detector, len(material.items)))
    return Retrained(detector, "; ".join(made), known, represented=represented_by(detector, champion, material))


def fine_tuning(recipe: Mapping[str, Any]) -> TailConfiguration:
    return TailConfiguration(least_labels=recipe["retrain"]["fine_tune_from"])


def everything_anew(base: PatchCore, material: Material, run: Run, tail: TailConfiguration) -> Retrained:
    """Memory, head, tail and thresholds from all labels and known-good images; each good part is judged by a memory
    without it, so that none has to be kept back."""
    looking = Looking(base, material, run.cache, run.device)
    frames = [looking.seen(item) for item in counted(material, run)]
    run.note(progress=0.0, detail=f"learning from {len(frames)} images")
    detector, raw_scores = teach(
        frames,
        groups=material.groups,
        base=base.configuration,
        tail=tail,
        seed=run.row.seed,
        told=partial(tell_learning, run),
    )
    keep_lessons(looking, detector, run)
    good = frozenset(item.sha256 for item in material.items if not item.is_anomaly)
    made = f"memory of {len(good)} good images; {of_labels(detector, len(frames))}"
    raw_of = {material.items[place].sha256: raw for place, raw in raw_scores.items()}
    return Retrained(detector, made, good, raw_of, folds_of(material))


def keep_lessons(looking: Looking, detector: SupervisedDetector, run: Run) -> None:
    """What the next run learns from, if this one's model becomes the champion."""
    assert detector.representation is not None, "it was learned just now"
    for item in counted(looking.material, run):
        looking.keep_lessons(item, detector.representation)


def memory_will_do(material: Material) -> bool:
    """Whether the champion's memory knows nearly all good images and nothing else, and what it said of each is known.

    It would learn next to nothing from the others, and to teach it anew takes longer than all the rest.
    """
    known = material.raw_scores.keys()
    good = {item.sha256: item.part_key for item in material.items if not item.is_anomaly}
    parts = {good[sha256] for sha256 in known & good.keys()}
    new = [part for sha256, part in good.items() if sha256 not in known]
    # One more image of a part it knows would be judged by a memory that knows the part.
    return bool(known) and known <= good.keys() and len(new) <= NEW_SHARE * len(good) and parts.isdisjoint(new)


def on_memory(champion: Detector, material: Material, run: Run, tail: TailConfiguration) -> Retrained | None:
    """Head, tail and thresholds from all labels, on the champion's memory. What it says of good parts it does not know
    is nearly as good to learn these from as what was said of the others by memories without them.

    None where it rejects more of these than it promised: they do not look as good parts did, and must be learned.
    """
    base = one_class(champion)
    looking = Looking(base, material, run.cache, run.device)
    scores = np.array([looking.score_by_memory(item) for item in counted(material, run)])
    known = frozenset(material.raw_scores)
    new = [place for place, one in enumerate(material.items) if not one.is_anomaly and one.sha256 not in known]
    if rejects_too_many(scores[new] >= base.ng_threshold, base.calibration.target_false_reject_rate):
        return None
    labels = [replace(one, is_taught=False) for one in looking.decided]  # each has a score not learned from it
    kept = representation_of(champion, base, material)
    detector = headed(looking, kept, labels, scores, run, tail)
    made = f"memory of {len(known)} good images kept; {of_labels(detector, len(labels))}"
    return Retrained(detector, made, known, material.raw_scores, represented_by(detector, champion, material))


def representation_of(champion: Detector, base: Detector, material: Material) -> Representation | None:
    """The champion's, while the images it was learned from are nearly all there are, and all still there; looked at in
    the same way, and of parts of the same fold, or one would be judged by what was learned from it."""
    if not isinstance(champion, SupervisedDetector) or champion.configuration.look != beneath(base).look:
        return None
    known, folds = material.represented, folds_of(material)
    if len(known) < REPRESENTED_SHARE * len(folds) or not known.items() <= folds.items():
        return None
    return champion.representation


def representation_wanted(champion: Detector, base: Detector, material: Material) -> Representation | None:
    """The champion's where it will be kept, as far as can be told before frames are looked at."""
    anew = isinstance(base, PatchCore) and base.eye.look is not None and not memory_will_do(material)
    return None if anew else representation_of(champion, base, material)


def represented_by(detector: SupervisedDetector, champion: Detector, material: Material) -> Mapping[str, int]:
    """The images that the detector's representation was learned from, the champion's where that was kept."""
    kept = isinstance(champion, SupervisedDetector) and detector.representation is champion.representation
    return material.represented if kept else folds_of(material)


def folds_of(material: Material) -> dict[str, int]:
    """Of the parts of all images, by SHA-256."""
    return {item.sha256: fold_of(item.part_key) for item in material.items}


def headed(
    looking: Looking,
    representation: Representation | None,
    labels: Sequence[Decided],
    scores: NDArray[np.float64],
    run: Run,
    tail: TailConfiguration,
) -> SupervisedDetector:
    """A head that learned from every labelled image, on the one-class detector that gave the scores."""
    known = looking.represented(counted(looking.material, run), representation)
    run.note(progress=0.0, detail=f"learning from {len(labels)} images")
    detector = learned(
        looking.base,
        known,
        labels,
        scores,
        groups=looking.material.groups,
        configuration=looking.configuration,
        tail=tail,
        seed=run.row.seed,
        told=partial(tell_learning, run),
    )
    keep_lessons(looking, detector, run)
    return detector


def rejects_too_many(rejected: NDArray[np.bool_], promised: float) -> bool:
    """Whether so many rejects among good parts would be seen by chance less than one time in a hundred."""
    if not len(rejected):
        return False
    return float(binomtest(int(rejected.sum()), len(rejected), promised, alternative="greater").pvalue) < 0.01


def of_labels(detector: SupervisedDetector, images: int) -> str:
    return f"head{and_tail(detector)} from {images} images, {heard(detector)}"


def tell_learning(run: Run, share: float) -> None:
    run.progress(round(100 * share), 100, f"learning: {share:.0%}")


def and_tail(detector: SupervisedDetector) -> str:
    return "" if detector.tails is None else " and fine-tuned backbone"


def heard(detector: SupervisedDetector) -> str:
    return "heard" if detector.learned.fusion.hears_labels else "not heard: it does not know better"


def kept_good(base: Detector, material: Material) -> int:
    """How many good parts the memory leaves to the head. What was never calibrated needs some, too."""
    half = len(material.good_parts()) // 2
    return KEPT_GOOD if base.calibration.good_raw_scores else min(KEPT_GOOD, half)


def refreshing(good_parts: Sequence[str], kept: int, seed: int) -> frozenset[str]:
    """Those whose images the memory takes in; the others stay unknown to it."""
    order = sorted(good_parts)
    Random(seed).shuffle(order)
    return frozenset(order[kept:])


def remembered(
    base: Detector,
    items: Sequence[SnapshotItem],
    material: Material,
    recipe: Mapping[str, Any],
    run: Run,
) -> Detector:
    """The one-class detector taught anew; its thresholds come from parts among these that it holds out."""

    def progress(done: int) -> None:
        run.progress(done, len(items), f"memory: {done} of {len(items)} good images")

    return memory.remembered(
        Looking(base, material, run.cache, run.device),
        items,
        target_false_reject_rate=recipe["target_false_reject_rate"],
        review_share=recipe["review_share"],
        seed=run.row.seed,
        progress=progress,
        told=partial(tell_learning, run),
    )


def with_head(
    base: Detector, representation: Representation | None, material: Material, run: Run, tail: TailConfiguration
) -> SupervisedDetector:
    """A head that learned from every labelled image, those the memory knows among them; from kept features."""
    looking = Looking(base, material, run.cache, run.device)
    scores = np.array([looking.score(item) for item in counted(material, run)])
    return headed(looking, representation, looking.decided, scores, run, tail)


def counted(material: Material, run: Run) -> Iterator[SnapshotItem]:
    for number, item in enumerate(material.items):
        run.progress(number, len(material.items), f"features of {number} of {len(material.items)} images")
        yield item
