"""How surely the causes of drift are told apart, on real solar cells that were changed on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from storage.errors import InspectionFailed
from storage.images import Image, decode
from workers.datasets.disturbance import blurred, lit, moved
from workers.detectors import registry
from workers.detectors.detector import Detector
from workers.drift.diagnosis import Cause, Scores, diagnose
from workers.drift.look import Look, look
from workers.drift.projection import projected
from workers.drift.sample import sample_of
from workers.elpv import cells

CAUSES: Final = (Cause.NONE, Cause.LIGHTING, Cause.FOCUS, Cause.POSITION, Cause.PARTS)
USUAL, RISEN = 0.05, 0.4
"""Shares of defective cells."""
TAUGHT: Final = 120
FALSE_REJECTS: Final = 0.05
SHIFT_PIXELS: Final = 5.0

Alter = Callable[[Image], Image]
Seen = tuple[float, tuple[float, ...]]
"""The score of an image, and the projections of its embedding."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """How often which cause was said of each true one, and what was said first."""

    said: dict[str, dict[str, int]]
    sentences: dict[str, str]
    seeds: int
    frames: int

    def record(self) -> dict[str, Any]:
        right = {cause: counts.get(cause, 0) for cause, counts in self.said.items()}
        return {
            "frames": self.frames,
            "seeds": self.seeds,
            "right": right,
            "said": self.said,
            "sentences": self.sentences,
            "least_right": min(right.values()),
        }


class Line:
    """Cells as a camera shows them; each is decoded, looked at and scored once."""

    def __init__(self, kind: str, image_size: int) -> None:
        found = cells(kind)
        self.good = [cell.path for cell in found if cell.probability == 0]
        self.bad = [cell.path for cell in found if cell.probability == 1]
        self.image_size = image_size
        self.images: dict[Path, Image] = {}
        self.looks: dict[Path, Look] = {}
        self.scores: dict[Path, Seen] = {}
        order = np.random.default_rng(0).permutation(len(self.good))
        self.detector = self.taught([self.good[place] for place in order[:TAUGHT]])
        self.good = [self.good[place] for place in order[TAUGHT:]]

    def taught(self, paths: Sequence[Path]) -> Detector:
        return registry.teach(
            "patchcore",
            (self.image(path) for path in paths),
            image_size=self.image_size,
            target_false_reject_rate=FALSE_REJECTS,
            review_share=0.0,
            seed=0,
        )

    def image(self, path: Path) -> Image:
        if path not in self.images:
            self.images[path] = decode(path.read_bytes())
        return self.images[path]

    def look(self, path: Path) -> Look:
        if path not in self.looks:
            self.looks[path] = look(self.image(path))
        return self.looks[path]

    def score(self, path: Path, alter: Alter | None = None) -> Seen:
        if alter is not None:
            return self.scored(alter(self.image(path)))
        if path not in self.scores:
            self.scores[path] = self.scored(self.image(path))
        return self.scores[path]

    def scored(self, image: Image) -> Seen:
        (answer,) = self.detector.predict([image])
        if isinstance(answer, InspectionFailed):
            raise answer
        projections = projected(answer.embedding, "trial")
        assert projections is not None, "patchcore has an embedding of every image"
        return answer.anomaly_score, projections

    def of(self, paths: Sequence[Path], alter: Alter | None) -> Scores:
        seen = [self.score(path, alter) for path in paths]
        values, projections = (np.array(one) for one in zip(*seen, strict=True))
        return Scores(values, self.detector.ng_threshold, projections)

    def told(self, cause: Cause, frames: int, seed: int) -> tuple[Cause, str]:
        """What is said of a window in which this has changed, after a reference of as many other cells."""
        random = np.random.default_rng(seed)
        good, bad = ([paths[place] for place in random.permutation(len(paths))] for paths in (self.good, self.bad))
        usual, risen = round(USUAL * frames), round((RISEN if cause is Cause.PARTS else USUAL) * frames)
        reference = good[: frames - usual] + bad[:usual]
        window = good[frames - usual : 2 * frames - usual - risen] + bad[usual : usual + risen]
        alter = alteration(cause, random)
        before = sample_of(self.look(path) for path in reference)
        after = sample_of(look(alter(self.image(path))) if alter else self.look(path) for path in window)
        found = diagnose(before, after)
        if not found.cause.is_camera:  # only then does the answer depend on the scores
            found = diagnose(before, after, self.of(reference, None), self.of(window, alter))
        return found.cause, found.sentence


def alteration(cause: Cause, random: np.random.Generator) -> Alter | None:
    """Light 13 to 30 % less or 15 to 35 % more; out of focus by .8 to 2 pixels; moved by 5 pixels in any direction."""
    if cause is Cause.LIGHTING:
        gain = random.uniform(0.70, 0.87) if random.random() < 0.5 else random.uniform(1.15, 1.35)
        return lambda image: lit(image, gain)
    if cause is Cause.FOCUS:
        sigma = random.uniform(0.8, 2.0)
        return lambda image: blurred(image, sigma)
    if cause is Cause.POSITION:
        angle = random.uniform(0, 2 * math.pi)
        return lambda image: moved(image, SHIFT_PIXELS * math.cos(angle), SHIFT_PIXELS * math.sin(angle))
    return None


def drift_trial(kind: str, *, frames: int, seeds: int, image_size: int, progress: Progress) -> Trial:
    progress("teaching")
    line = Line(kind, image_size)
    said: dict[str, dict[str, int]] = {}
    sentences: dict[str, str] = {}
    for cause in CAUSES:
        counts = said.setdefault(cause.value, {})
        for seed in range(seeds):
            progress(f"{cause.value}: {seed + 1} of {seeds}")
            found, sentence = line.told(cause, frames, seed)
            counts[found.value] = counts.get(found.value, 0) + 1
            sentences.setdefault(cause.value, sentence)
    return Trial(said, sentences, seeds, frames)
