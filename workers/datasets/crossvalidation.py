"""How good a supervised detector is on parts it has not seen: folds by group, over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from storage.errors import InspectionFailed, TeachingFailed
from workers.datasets.image_metrics import decision, ranking
from workers.datasets.pixel_metrics import Levels, PixelCounts, count_pixels
from workers.detectors import supervised_teaching
from workers.detectors.asking import ask
from workers.detectors.detector import Detector, Prediction
from workers.detectors.frame_features import Look, Looker
from workers.detectors.fusion_training import folds, numbered
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import look
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import fit
from workers.detectors.tail_configuration import TailConfiguration

Figures = dict[str, float]
TeachOneClass = Callable[[Sequence[Labelled], Sequence[str], int], Detector]
"""From known-good images, their groups and a seed."""
Learn = Callable[[Sequence[int], int], SupervisedDetector]
"""From the places of the images that may be learned from, and a seed."""
Progress = Callable[[str], None]

TAUGHT_SHARE = 0.5  # of the good groups, for the one-class detector; the others are labels


@dataclass(frozen=True)
class CrossValidation:
    """Figures of each fold of each seed; thresholds and weights never saw the judged fold."""

    folds: list[Figures] = field(default_factory=list)

    def mean(self) -> Figures:
        return {name: float(np.mean(values)) for name, values in self.by_name().items()}

    def spread(self) -> Figures:
        """Standard deviation over folds and seeds."""
        return {name: float(np.std(values)) for name, values in self.by_name().items()}

    def by_name(self) -> dict[str, list[float]]:
        """A fold without a single mask has no figure for pixels."""
        names = dict.fromkeys(name for one in self.folds for name in one)
        return {name: [one[name] for one in self.folds if name in one] for name in names}


def cross_validate(
    labelled: Sequence[Labelled],
    groups: Sequence[str],
    learn: Learn,
    *,
    count: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    progress: Progress | None = None,
) -> CrossValidation:
    """Learn from all folds but one and judge that one, for each fold and seed."""
    truth = np.array([one.is_anomaly for one in labelled])
    found = CrossValidation()
    for seed in seeds:
        for number, (learned, judged) in enumerate(folds(truth, numbered(groups), count, seed), start=1):
            if progress is not None:
                progress(f"seed {seed}, fold {number} of {count}")
            detector = learn(learned.tolist(), seed)
            found.folds.append(judge(detector, [labelled[place] for place in judged]))
    return found


def anew(
    labelled: Sequence[Labelled],
    groups: Sequence[str],
    base: PatchCoreConfiguration,
    labels: int | None = None,
    configuration: HeadConfiguration | None = None,
    tail: TailConfiguration | None = None,
    *,
    asked: bool = False,
) -> Learn:
    """As a retraining run learns: memory, head, tail and thresholds from all that is known, the memory from its good
    parts. Each image is looked at once in all.

    labels: as in `some_known`, which see for what is known; None: every label is told.
    """
    frames = look(labelled, Looker(Look(base.image_size, base.local_contrast)), None)

    def learn(places: Sequence[int], seed: int) -> SupervisedDetector:
        learned_from, rate = list(places), None
        if labels is not None:
            known, others = parted(labelled, groups, places, seed)
            learned_from = known + chosen(known, others, seed)
            rate = anomaly_rate(labelled, places)
        return supervised_teaching.teach(
            [frames[place] for place in learned_from],
            groups=[groups[place] for place in learned_from],
            anomaly_rate=rate,
            base=base,
            configuration=configuration,
            tail=tail,
            seed=seed,
        ).detector

    def chosen(known: list[int], others: list[int], seed: int) -> list[int]:
        assert labels is not None
        if not asked:
            return drawn(others, labels, seed)
        features = [frames[place].features for place in known]
        first = teach_features(features, groups=[groups[place] for place in known], configuration=base, seed=seed)
        predictions = [first.score_features([frames[place].features.unpacked()]) for place in others]
        return [others[place] for place in ask(predictions, labels, threshold=first.ok_threshold)]

    return learn


def some_known(
    labelled: Sequence[Labelled],
    groups: Sequence[str],
    teach: TeachOneClass,
    labels: int | None = None,
    configuration: HeadConfiguration | None = None,
    tail: TailConfiguration | None = None,
    *,
    asked: bool = False,
) -> Learn:
    """Half of the good groups teach the one-class detector; of the other images at most `labels`, drawn at random or
    asked for because that detector is unsure of them, and the taught ones teach the head."""

    def learn(places: Sequence[int], seed: int) -> SupervisedDetector:
        return taught(labelled, groups, places, teach, labels, configuration, tail, seed, asked)

    return learn


def taught(
    labelled: Sequence[Labelled],
    groups: Sequence[str],
    places: Sequence[int],
    teach: TeachOneClass,
    labels: int | None,
    configuration: HeadConfiguration | None,
    tail: TailConfiguration | None,
    seed: int,
    asked: bool,
) -> SupervisedDetector:
    known, others = parted(labelled, groups, places, seed)
    base = teach([labelled[place] for place in known], [groups[place] for place in known], seed)
    if labels is not None:
        others = unsure_of(base, labelled, others, labels) if asked else drawn(others, labels, seed)
    images = [replace(labelled[place], is_taught=True) for place in known] + [labelled[place] for place in others]
    parts = [groups[place] for place in (*known, *others)]
    rate = anomaly_rate(labelled, places)
    return fit(base, images, groups=parts, anomaly_rate=rate, configuration=configuration, tail=tail, seed=seed)


def parted(
    labelled: Sequence[Labelled], groups: Sequence[str], places: Sequence[int], seed: int
) -> tuple[list[int], list[int]]:
    """Known-good places, and the others."""
    known = known_good(labelled, groups, places, np.random.default_rng(seed))
    return known, [place for place in places if place not in set(known)]


def drawn(places: Sequence[int], count: int, seed: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, 1]).permutation(places).tolist()
    return order[:count]


def anomaly_rate(labelled: Sequence[Labelled], places: Sequence[int]) -> float:
    return float(np.mean([labelled[place].is_anomaly for place in places]))


def unsure_of(base: Detector, labelled: Sequence[Labelled], places: Sequence[int], count: int) -> list[int]:
    """About the OK threshold: there the good ones and the defective ones are that look alike to it."""
    predictions = [answer(base, labelled[place]) for place in places]
    return [places[chosen] for chosen in ask(predictions, count, threshold=base.ok_threshold)]


def known_good(
    labelled: Sequence[Labelled], groups: Sequence[str], places: Sequence[int], draw: np.random.Generator
) -> list[int]:
    """Places of the good images of half of the groups that have one."""
    good = [place for place in places if not labelled[place].is_anomaly]
    distinct = sorted({groups[place] for place in good})
    drawn = draw.permutation(len(distinct))[: round(TAUGHT_SHARE * len(distinct))]
    chosen = {distinct[place] for place in drawn}
    return [place for place in good if groups[place] in chosen]


def judge(detector: SupervisedDetector, labelled: Sequence[Labelled]) -> Figures:
    """f1, precision, recall and false_reject_rate at the threshold with the best F1 among the labels learned from;
    `at_ng_threshold` at the one that promises a false-reject rate; `one_class` of the detector beneath."""
    truth = np.array([one.is_anomaly for one in labelled], np.bool_)
    predictions = [answer(detector, one) for one in labelled]
    below = [answer(detector.base, one) for one in labelled]
    scores = np.array([one.anomaly_score for one in predictions])
    probabilities = np.array([one.probabilities["anomaly"] for one in predictions])
    figures = {
        **ranking(truth, scores),
        **decision(truth, scores >= detector.learned.f1_threshold),
        **suffixed(decision(truth, scores >= detector.ng_threshold), "at_ng_threshold"),
        **suffixed(ranking(truth, np.array([one.anomaly_score for one in below])), "one_class"),
        "brier": float(np.mean((probabilities - truth) ** 2)),
    }
    known = [place for place, one in enumerate(labelled) if one.mask is not None or not one.is_anomaly]
    if any(labelled[place].mask is not None for place in known):
        marked = [labelled[place] for place in known]
        figures["pixel_auroc"] = pixel_auroc(marked, [predictions[place] for place in known])
        figures["pixel_auroc_one_class"] = pixel_auroc(marked, [below[place] for place in known])
    return figures


def suffixed(figures: Figures, suffix: str) -> Figures:
    return {f"{name}_{suffix}": value for name, value in figures.items()}


def pixel_auroc(labelled: Sequence[Labelled], predictions: Sequence[Prediction]) -> float:
    maps = [one.anomaly_map for one in predictions]
    levels = Levels(min(float(one.min()) for one in maps), max(float(one.max()) for one in maps))
    counts = PixelCounts.none()
    for one, anomaly_map in zip(labelled, maps, strict=True):
        mask = np.zeros(one.image.shape[:2], np.bool_) if one.mask is None else one.mask != 0
        counts = counts + count_pixels(anomaly_map, mask, levels)
    area = counts.auroc()
    assert area is not None, "both classes are in every fold, and each anomaly has a mask that is not empty"
    return area


def answer(detector: Detector, one: Labelled) -> Prediction:
    (found,) = detector.predict([one.image])
    if isinstance(found, InspectionFailed):
        raise TeachingFailed(f"an image to judge cannot be scored: {found}") from found
    return found
