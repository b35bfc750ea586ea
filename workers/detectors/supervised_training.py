"""Teaches a supervised detector: head, summary and tail, from operators' labels, on top of a one-class detector.

What they say is believed as far as labelled parts that were held out of their training bear it out. With few labels
they do not: then the detector ranks and rejects exactly as the one beneath it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors import fusion_training, summary_training
from workers.detectors.calibration import calibrate, parts_needed, score_of
from workers.detectors.detector import Calibration, Detector
from workers.detectors.efficientnet_lite import build
from workers.detectors.frame_features import Look
from workers.detectors.fusion import Fusion
from workers.detectors.fusion_training import Fold
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import Progress, look
from workers.detectors.head_reduction import grown
from workers.detectors.head_training import out_of_fold as head_out_of_fold
from workers.detectors.head_training import train
from workers.detectors.labelled import Labelled, Marked, Seen, check
from workers.detectors.patchcore import PatchCore
from workers.detectors.represented import Activations, Represented, represented_anew
from workers.detectors.supervised import Learned, SupervisedDetector, looker_for, shares_look
from workers.detectors.tail import Tails, parted
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.tail_training import entered
from workers.detectors.tail_training import out_of_fold as tail_out_of_fold
from workers.detectors.tail_training import train as train_tails
from workers.detectors.telling import Told, within

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

HEAD_SHARE, BEFORE_TAIL = 0.3, 0.4  # of what `told` tells
NOBODY = -1  # the fold of an image that every member learns from


def fit(
    base: Detector,
    labelled: Sequence[Labelled],
    *,
    groups: Sequence[str] | None = None,
    anomaly_rate: float | None = None,
    configuration: HeadConfiguration | None = None,
    tail: TailConfiguration | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SupervisedDetector:
    """A detector that knows the labels as well as what `base` was taught.

    groups: one for each image; images of one part have the same. Without them each image shows a part of its own.
    anomaly_rate: of the parts to come, in (0, 1); what a queue asked for holds more defects than the line. Without it
    probabilities and f1_threshold are those of parts like the labelled ones.
    Thresholds keep base's target false-reject rate. TeachingFailed when labels contradict one another or are too few.
    """
    groups = [str(number) for number in range(len(labelled))] if groups is None else groups
    check(labelled, groups)
    configuration = configuration or beneath(base)
    looker = looker_for(base, configuration.look)
    frames = look(labelled, looker, progress)
    scores = scored(base, labelled, frames, configuration.look)
    return refit(
        base,
        frames,
        scores,
        groups=groups,
        anomaly_rate=anomaly_rate,
        configuration=configuration,
        tail=tail,
        seed=seed,
    )


def refit(
    base: Detector,
    frames: Sequence[Seen],
    scores: Floats | None = None,
    *,
    groups: Sequence[str] | None = None,
    anomaly_rate: float | None = None,
    configuration: HeadConfiguration | None = None,
    tail: TailConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> SupervisedDetector:
    """As `fit`, from features that were kept: no forward pass.

    scores: base's anomaly_score of each frame; of those it was taught from they may be anything. Not needed when base
    is a PatchCore that looks at whole frames as the configuration says: it scores the features.
    told: how far it is; the tail takes most of the time where there are labels enough for one.
    """
    groups = [str(number) for number in range(len(frames))] if groups is None else groups
    check(frames, groups)
    configuration = configuration or beneath(base)
    scores = scores_of(base, frames, configuration.look) if scores is None else scores
    known = represented_anew(frames, groups, configuration.look)
    return learned(
        base,
        known,
        frames,
        scores,
        groups=groups,
        anomaly_rate=anomaly_rate,
        configuration=configuration,
        tail=tail,
        seed=seed,
        told=told,
    )


def learned(
    base: Detector,
    known: Represented,
    labels: Sequence[Marked],
    scores: Floats,
    *,
    groups: Sequence[str],
    anomaly_rate: float | None = None,
    configuration: HeadConfiguration,
    tail: TailConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> SupervisedDetector:
    """As `refit`, of frames that are known as head and machine learn from them."""
    check(labels, groups)
    is_anomaly = np.array([one.is_anomaly for one in labels])
    judging = new_to_base(labels)
    truth, parts = is_anomaly[judging], [groups[place] for place in judging]
    divisions = [divided(truth, parts, configuration.folds, seed + turn) for turn in range(configuration.rounds)]
    rounds = [fold_of_each(one, judging, len(labels)) for one in divisions]
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay its own
        truth_of, fold_of = torch.from_numpy(is_anomaly), torch.from_numpy(np.stack(rounds, 1))
        lessons, copies = known.lessons, known.disturbed
        head = train(lessons, truth_of, fold_of, configuration, seed, copies, within(told, 0, HEAD_SHARE))
        whole = grown(head, known.representation.along, configuration)
    logits = head_out_of_fold(head, lessons, fold_of, configuration).numpy().astype(np.float64)
    here = within(told, HEAD_SHARE, BEFORE_TAIL)
    vectors, margins = summary_training.teach(known.rows, known.held_out, is_anomaly, rounds[0], here)
    fine_tuned = tuned(
        known.activations, labels, groups, tail or TailConfiguration(), seed, within(told, BEFORE_TAIL, 1)
    )
    weights = importance(truth, anomaly_rate)
    said = scores[judging], logits[judging], margins[judging]
    heard = None if fine_tuned is None else fine_tuned.logits[judging]
    may_help = enough_good(truth, parts, base.calibration)
    fusion, evidence = fusion_training.learn(
        *said, truth, weights, parts, seed, parted=divisions[0], may_help=may_help, tail=heard
    )
    raw = fusion.raw(*said, 0.0 if heard is None else heard)
    calibration = calibrated(fusion, base, raw, truth, parts)
    return SupervisedDetector(
        base,
        whole,
        vectors.as_machine(known.rows, known.representation.summariser),
        configuration,
        Learned(fusion, asdict(evidence), score_of(calibration, best_f1_threshold(raw, weights))),
        calibration,
        datetime.now(UTC).isoformat(timespec="seconds"),
        looker_for(base, configuration.look),
        fine_tuned.tails if fine_tuned is not None and fusion.tail_weight else None,  # unheard it would cost time
        known.representation,
    )


class Tuned(NamedTuple):
    tails: Tails
    logits: Floats  # (images,), out of fold


def tuned(
    activations: Activations,
    labels: Sequence[Marked],
    groups: Sequence[str],
    configuration: TailConfiguration,
    seed: int,
    told: Told | None,
) -> Tuned | None:
    """The fine-tuned tails; None where there are too few labels for one."""
    is_anomaly = np.array([one.is_anomaly for one in labels])
    if not configuration.wanted(int((~is_anomaly).sum()), int(is_anomaly.sum())):
        return None
    entry, _ = parted(build())
    sources = [entered(entry, one) for one in activations()]
    judging = new_to_base(labels)
    division = divided(is_anomaly[judging], [groups[place] for place in judging], configuration.folds, seed)
    folds = torch.from_numpy(fold_of_each(division, judging, len(labels)))
    with torch.random.fork_rng(devices=[]):
        members = train_tails(sources, torch.from_numpy(is_anomaly), folds, configuration, seed, told)
    logits = tail_out_of_fold(members, sources[0], folds).numpy().astype(np.float64)
    return Tuned(Tails(entry, members).eval().requires_grad_(False), logits)


def beneath(base: Detector) -> HeadConfiguration:
    """The configuration that shares base's forward pass, where that can be."""
    seen = base.eye.look if isinstance(base, PatchCore) else None
    if seen is None:
        return HeadConfiguration()
    return HeadConfiguration(image_size=seen.image_size, local_contrast=seen.local_contrast)


def new_to_base(labelled: Sequence[Labelled | Marked]) -> list[int]:
    """Places of the images that can say how good the one-class score is."""
    return [place for place, one in enumerate(labelled) if not one.is_taught]


def scored(base: Detector, labelled: Sequence[Labelled], frames: Sequence[Seen], look: Look) -> Floats:
    """What the one-class detector says of each image."""
    if shares_look(base, look):
        return scores_of(base, frames, look)
    scores = []
    for number, one in enumerate(labelled, start=1):
        (answer,) = base.predict([one.image])
        if isinstance(answer, InspectionFailed):
            raise TeachingFailed(f"labelled image {number}: {answer}") from answer
        scores.append(answer.anomaly_score)
    return np.array(scores, np.float64)


def scores_of(base: Detector, frames: Sequence[Seen], look: Look) -> Floats:
    if not shares_look(base, look):
        raise TeachingFailed(f"{base.name} looks at frames in another way than {look}: its scores must be given")
    return np.array([base.score_features([one.features.unpacked()]).anomaly_score for one in frames])


def divided(truth: Truth, parts: Sequence[str], count: int, seed: int) -> list[Fold]:
    """Places to learn from and places to judge; no part is in both."""
    return fusion_training.folds(truth, fusion_training.numbered(parts), count, seed)


def fold_of_each(parted: Sequence[Fold], judging: Sequence[int], count: int) -> NDArray[np.int64]:
    """The member that must not learn from each image; parts the one-class detector knows are for all to learn from."""
    folds = np.full(count, NOBODY)
    for member, (_, judged) in enumerate(parted):
        folds[np.array(judging)[judged]] = member
    return folds


def importance(truth: Truth, anomaly_rate: float | None) -> Floats:
    """How many parts to come each labelled image stands for; 1 on average."""
    if anomaly_rate is None:
        return np.ones(len(truth))
    if not 0 < anomaly_rate < 1:
        raise TeachingFailed(f"anomaly_rate is {anomaly_rate}; allowed: above 0, below 1")
    rate = truth.mean()
    return np.asarray(np.where(truth, anomaly_rate / rate, (1 - anomaly_rate) / (1 - rate)))


def enough_good(truth: Truth, parts: Sequence[str], calibration: Calibration) -> bool:
    """Whether the fused score can be calibrated: the good parts beneath were scored without the head."""
    good = {part for part, defective in zip(parts, truth, strict=True) if not defective}
    return len(good) >= parts_needed(calibration.target_false_reject_rate)


def calibrated(fusion: Fusion, base: Detector, raw: Floats, truth: Truth, parts: Sequence[str]) -> Calibration:
    """On labelled good parts, out of fold; without the head's say, on the very parts that base was calibrated on."""
    below = base.calibration
    if fusion.hears_labels:
        good, good_parts = raw[~truth], [part for part, defective in zip(parts, truth, strict=True) if not defective]
    else:
        scores = np.array([score_of(below, score) for score in below.good_raw_scores])
        good, good_parts = fusion.raw(scores, 0.0, 0.0), [str(part) for part in below.good_parts]
    by_turns = fusion.hears_labels or below.by_turns
    return calibrate(
        good.tolist(), below.target_false_reject_rate, below.review_share, good_parts or None, by_turns=by_turns
    )


def best_f1_threshold(raw: Floats, weights: Floats) -> float:
    """Half-way between the two scores where the F1 to be expected is best; raw: fused logits, out of fold.

    Expected of the probabilities, not counted of the labels: the best of a few counts is best by chance. With some
    hundred labels both come to the same.
    """
    order = np.argsort(-raw)
    defective = (weights * expit(raw))[order]
    f1 = 2 * np.cumsum(defective) / (defective.sum() + np.cumsum(weights[order]))
    place = int(f1.argmax())
    return float(raw[order[place : place + 2]].mean())
