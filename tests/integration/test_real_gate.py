"""The gate with real detectors on painted parts: what is refused, what is promoted, and that it is so again."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.images import Image, encode
from tests.painted import good_part
from tests.unit.painted_parts import labelled_parts
from workers.detectors.detector import Detector
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.supervised_training import fit
from workers.retrain.camera import compared
from workers.retrain.evaluation import Evaluation, Judge, evaluate_together, recorded
from workers.retrain.gate import GateDecision, GatePolicy, decide, refusal
from workers.retrain.pool import PoolItem
from workers.retrain.refusal import altered, label_noise
from workers.retrain.report import write_report

HEAD = HeadConfiguration(
    image_size=96, folds=3, members=3, width=8, epochs=12, least_steps=1, batch_size=16, worst_share=0.1
)
POLICY = GatePolicy(resamples=400, disturbed_parts=8, disturbance_margin=0.2, latency_factor=20.0)
POOL = labelled_parts(45, start=5000)

Both = tuple[Evaluation, Evaluation]
"""Champion and candidate."""


def items(parts: list[Labelled]) -> list[PoolItem]:
    return [
        PoolItem(
            name=f"image-{number}",
            part=f"part-{number}",
            is_anomaly=one.is_anomaly,
            read=lambda image=one.image: encode(image, "png"),  # type: ignore[misc]  # bound now
            defects=("pit",) if one.is_anomaly else (),
        )
        for number, one in enumerate(parts)
    ]


@pytest.fixture(scope="module")
def champion() -> PatchCore:
    torch.set_num_threads(1)
    configuration = PatchCoreConfiguration(image_size=96, bank_size=100, target_false_reject_rate=0.1)
    return teach([good_part(number) for number in range(40)], configuration=configuration, seed=3)


@pytest.fixture(scope="module")
def candidate(champion: PatchCore) -> Detector:
    return fit(champion, labelled_parts(40), configuration=HEAD, seed=1)


@pytest.fixture(scope="module")
def judged(champion: PatchCore, candidate: Detector) -> Both:
    return judge(champion, candidate)


def judge(champion: Detector, candidate: Detector) -> Both:
    judges = [Judge.by_its_own("champion", champion), Judge.by_its_own("candidate", candidate)]
    first, second = evaluate_together(judges, items(POOL), disturbed_parts=POLICY.disturbed_parts)
    return first, second


def vectors(detector: Detector, images: list[Image]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    answers = detector.predict(images)
    return np.array([answer.embedding for answer in answers if not isinstance(answer, Exception)], np.float64)


def truth(parts: list[Labelled]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.array([one.is_anomaly for one in parts], np.bool_)


def without_times(decision: GateDecision) -> list[tuple[object, ...]]:
    """All that does not depend on the clock."""
    return [
        (one.name, one.before, one.after, one.interval, one.passed)
        for one in decision.checks
        if "milliseconds" not in one.name
    ]


def test_a_candidate_that_learned_what_a_defect_is_is_promoted(judged: Both) -> None:
    decision = decide(judged[0], judged[1], POLICY)
    assert decision.promoted, decision.sentence
    assert "F1 on 90 protected parts rose from" in decision.sentence


def test_the_champion_does_not_replace_a_better_candidate(judged: Both) -> None:
    decision = decide(judged[1], judged[0], POLICY)
    assert not decision.promoted and decision.sentence.startswith("not yet: pit recall fell from")


def test_the_same_seed_gives_the_same_decision(champion: PatchCore, candidate: Detector, judged: Both) -> None:
    first, again = decide(*judged, POLICY), decide(*judge(champion, candidate), POLICY)
    assert (first.promoted, first.sentence) == (again.promoted, again.sentence)
    assert without_times(first) == without_times(again)


def test_flipped_labels_are_refused_with_their_share(champion: PatchCore) -> None:
    taught = labelled_parts(100)
    flipped = truth(taught)
    places = np.random.default_rng(0).permutation(len(flipped))[: len(flipped) // 5]
    seen, pool = vectors(champion, [one.image for one in taught]), vectors(champion, [one.image for one in POOL])
    groups = [str(number) for number in range(len(taught))]
    honest = label_noise(seen, flipped, groups, pool, truth(POOL))
    flipped[places] ^= True
    found = label_noise(seen, flipped, groups, pool, truth(POOL))
    assert honest is not None and honest.refused(0.1) is None
    assert found is not None
    assert found.interval.low < 0.2 < found.interval.high
    reason = found.refused(0.1)
    assert reason is not None and "of the 200 training labels contradict their neighbours" in refusal(reason).sentence


def test_images_from_a_moved_camera_are_refused_with_how_far_it_moved() -> None:
    def rimmed(number: int, right: int) -> Image:
        image = good_part(number)
        image[20:70, 30:36], image[20:26, 30:80] = 230, 230
        return np.roll(image, right, axis=1)

    pool = [rimmed(number, 0) for number in range(60)]
    assert compared(pool, [[rimmed(100 + number, 0) for number in range(60)]]) is None
    reason = compared(pool, [[rimmed(100 + number, 5) for number in range(60)]])
    assert reason is not None and "(position): the parts are seen 5." in reason


def test_an_altered_file_is_refused(candidate: Detector, tmp_path: Path) -> None:
    sha256 = candidate.save(tmp_path / "candidate")
    assert altered(tmp_path / "candidate", sha256) is None
    weights = tmp_path / "candidate" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    reason = altered(tmp_path / "candidate", sha256)
    assert reason is not None and "weights.safetensors" in reason


def test_a_person_s_thresholds_count_and_not_the_model_s_own(champion: PatchCore) -> None:
    own = Judge.by_its_own("champion", champion)
    strict = replace(own, ok_threshold=0.0, ng_threshold=0.0)
    (found,) = evaluate_together([strict], items(POOL[:6]), disturbed_parts=0)
    assert found.rejected.all() and not found.passed.any()


def test_the_report_needs_nothing_but_itself_and_its_record_decides_the_same(judged: Both, tmp_path: Path) -> None:
    decision = decide(*judged, POLICY)
    page = write_report(tmp_path / "run", decision, *judged, items(POOL), {"snapshot": "20260503_V1_demo"})
    text = page.read_text(encoding="utf-8")
    assert decision.sentence in html.unescape(text) and "20260503_V1_demo" in text
    assert text.count("data:image/png;base64,") == 2 and "data:image/jpeg;base64," in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    kept = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    champion, candidate = (recorded(kept["evaluations"][name]) for name in ("champion", "candidate"))
    again = decide(champion, candidate, POLICY)
    assert again == decision
    assert kept["figures"]["candidate"]["f1"]["value"] > kept["figures"]["champion"]["f1"]["value"]
