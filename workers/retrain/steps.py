"""The phases of a training run, one function each. Torch is imported here: import it late."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy.orm import Session

from storage import deployments, drift, image_looks, records, snapshots, thresholds, training_runs
from storage.code_version import code_version
from storage.deployments import BY_ITSELF, Wish
from storage.errors import ModelError, ModelMissing, TrainingRefused
from storage.events import now
from storage.images import Image, decode
from storage.model_files import check_model
from storage.models import DeploymentRequest, ModelVersion
from storage.snapshot_models import ItemSource, SnapshotItem, Split
from storage.training_models import Phase, RunState
from workers.detectors.artefact import link_or_copy
from workers.detectors.calibration import promised
from workers.detectors.detector import Detector
from workers.detectors.registry import load, use_threads
from workers.detectors.supervised_training import beneath
from workers.retrain import camera, refusal
from workers.retrain import gate as gatekeeper
from workers.retrain.challenge import Challenge
from workers.retrain.checkpoint import put_in_place
from workers.retrain.evaluation import Evaluation, Judge, evaluate_together, recorded
from workers.retrain.evaluation import evaluate as evaluate_one
from workers.retrain.gate import GateDecision, GatePolicy
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.pool import PoolItem
from workers.retrain.report import write_report
from workers.retrain.retraining import one_class, representation_wanted, retrained
from workers.retrain.run import Left, Run
from workers.retrain.snapshot import take_snapshot
from workers.snapshots.looks import METHOD
from workers.snapshots.policy import Policy

LEARNED = (Split.TRAIN, Split.VALIDATION)


# Snapshot


def snapshot(run: Run) -> Left:
    """The labels of now, split and protected; a resumed run finds the one it took."""
    description = f"run-{run.row.id.hex[-12:]}"
    with run.database.begin() as session:
        taken = next((one for one in snapshots.listed(session, run.row.recipe) if one.description == description), None)
        champion = records.deployed_model(session, run.row.recipe)
    if champion is None:
        raise ModelMissing(f"recipe {run.row.recipe}: no model is deployed that could be retrained")
    if taken is None:
        taken = take_snapshot(
            run.database,
            run.store,
            run.row.recipe,
            run.recipe["teach"],
            by=run.row.requested_by,
            description=description,
            progress=run.progress,
            seed=run.row.seed,
            policy=Policy(test_share=run.recipe["retrain"]["test_share"], doubt=run.recipe["retrain"]["doubt"]),
            maximum_megapixels=run.plan.maximum_megapixels,
        )
    run.note(snapshot=taken.name, champion=champion.id)
    if taken.unfit:
        raise TrainingRefused(f"snapshot {taken.name} is not fit to learn from: {taken.unfit}")
    return {"name": taken.name, "sha256": taken.sha256, "champion": champion.id, "counts": taken.counts}


def items(run: Run, *splits: Split) -> list[SnapshotItem]:
    with run.database.begin() as session:
        return snapshots.items(session, run.left[Phase.SNAPSHOT]["name"], *splits)


def champion_row(run: Run) -> ModelVersion:
    with run.database.begin() as session:
        found = session.get(ModelVersion, run.left[Phase.SNAPSHOT]["champion"])
    assert found is not None, "a deployed version is on record for ever"
    return found


def loaded(run: Run, row: ModelVersion) -> Detector:
    return load(run.plan.models / row.id, row.sha256, run.device)


def material(run: Run, row: ModelVersion, base: Detector) -> Material:
    """Images are decoded as fine as the champion's one-class detector and a head on it want them."""
    side = max(base.image_size, beneath(base).image_size)
    known = frozenset(row.configuration.get("memory_from", ()))
    raw_scores, represented = (row.configuration.get(name, {}) for name in ("memory_scores", "represented"))
    learned = items(run, *LEARNED)
    return Material(learned, run.store, side, run.plan.maximum_megapixels, known, raw_scores, represented)


# Features


def features(run: Run) -> Left:
    """Every image that will be learned from is looked at, unless it was before."""
    use_threads(run.plan.threads)
    row = champion_row(run)
    champion = loaded(run, row)
    base = one_class(champion)
    found = material(run, row, base)
    looking, representation = Looking(base, found, run.cache, run.device), representation_wanted(champion, base, found)
    for number, item in enumerate(found.items):
        looking.look_at(item, representation)
        run.progress(
            number, len(found.items), f"{number} of {len(found.items)} images, {looking.looked} not seen before"
        )
    run.cache.trim()
    return {"images": len(found.items), "looked_at": looking.looked}


# Fit


def fit(run: Run) -> Left:
    """The candidate, whole on disk before it has a name."""
    use_threads(run.plan.threads)
    row = champion_row(run)
    champion = loaded(run, row)
    done = retrained(champion, material(run, row, one_class(champion)), run.recipe, run)
    run.cache.trim()  # what was thrown away after the features is there again
    draft = run.checkpoint.candidate.with_name(".candidate")
    shutil.rmtree(draft, ignore_errors=True)
    sha256 = done.detector.save(draft)
    put_in_place(draft, run.checkpoint.candidate)
    with run.database.begin() as session:
        version = records.next_model_id(session, run.row.recipe, f"{now():%Y%m%d}")
    return {
        "version": version,
        "sha256": sha256,
        "made": done.made,
        "memory": sorted(done.memory),
        "memory_scores": dict(done.raw_scores),
        "represented": dict(done.represented),
    }


# Evaluate


def evaluate(run: Run) -> Left:
    """Champion and candidate judge the protected pool, each as it would on the line."""
    use_threads(run.plan.threads)
    row, made = champion_row(run), run.left[Phase.FIT]
    with run.database.begin() as session:
        limits = thresholds.in_force(session, run.row.recipe, row)
    if reason := altered(run):
        raise TrainingRefused(reason)
    candidate = load(run.checkpoint.candidate, made["sha256"], run.device)
    judges = [Judge(row.id, loaded(run, row), *limits), Judge.by_its_own(made["version"], candidate)]
    pool = [pool_item(run, item) for item in items(run, Split.TEST)]
    found = evaluate_together(
        judges,
        pool,
        seed=run.row.seed,
        disturbed_parts=run.recipe["gate"]["disturbed_parts"],
        maximum_megapixels=run.plan.maximum_megapixels,
        progress=partial(told, run),
    )
    return {
        "evaluations": [one.record() for one in found],
        "first": of_the_first(run, row, pool),
        "challenge": on_challenge_parts(run, judges),
    }


def on_challenge_parts(run: Run, judges: list[Judge]) -> list[dict[str, Any]] | None:
    """Both judge the challenge parts too, as they are; None where the snapshot has none."""
    parts = [pool_item(run, item) for item in items(run, Split.CHALLENGE)]
    if not parts:
        return None
    found = evaluate_together(
        judges, parts, disturbed_parts=0, maximum_megapixels=run.plan.maximum_megapixels, progress=partial(told, run)
    )
    return [one.record() for one in found]


def challenge_of(run: Run) -> Challenge | None:
    kept = run.left[Phase.EVALUATE].get("challenge")
    return Challenge(*(recorded(one) for one in kept)) if kept else None


def of_the_first(run: Run, champion: ModelVersion, pool: list[PoolItem]) -> dict[str, Any] | None:
    """How the recipe's first model judges the pool of today; None where it is the champion still."""
    with run.database.begin() as session:
        first = champion
        while first.parent and (parent := session.get(ModelVersion, first.parent)):
            first = parent
    if first.id == champion.id or not (run.plan.models / first.id).exists():
        return None
    found = evaluate_one(loaded(run, first), pool, model=first.id, disturbed_parts=0, progress=partial(told, run))
    return {"model": first.id, "f1": f1(found)}


def told(run: Run, done: int, total: int) -> None:
    run.progress(done, total, f"protected pool: {done} of {total} images")


def pool_item(run: Run, item: SnapshotItem) -> PoolItem:
    return PoolItem(
        name=item.sha256,
        part=item.part_key,
        is_anomaly=item.is_anomaly,
        read=lambda: run.store.get(item.sha256),
        defects=tuple(item.defects),
    )


# Gate


def gate(run: Run) -> Left:
    """The decision, with all it stands on; the same evaluations give the same one."""
    policy = GatePolicy(**run.recipe["gate"], seed=run.row.seed)
    reason = altered(run) or other_camera(run) or noisy_labels(run, policy)
    decision = gatekeeper.refusal(reason) if reason else gatekeeper.decide(*evaluations(run), policy)
    return answered(run, decision)


def altered(run: Run) -> str | None:
    return refusal.altered(run.checkpoint.candidate, run.left[Phase.FIT]["sha256"])


def evaluations(run: Run) -> tuple[Evaluation, Evaluation]:
    """The champion's and the candidate's."""
    champion, candidate = (recorded(one) for one in run.left[Phase.EVALUATE]["evaluations"])
    return champion, candidate


def answered(run: Run, decision: GateDecision) -> Left:
    """The decision with its figures, and the report for people."""
    champion, candidate = evaluations(run)
    challenge = challenge_of(run)
    decision = challenge.held(decision) if challenge else decision
    known = figures(run, champion, candidate, decision) | {"challenge": challenge.figures() if challenge else None}
    run.progress(1, 1, "the report")
    pool = [pool_item(run, item) for item in items(run, Split.TEST)]
    facts = {"run": str(run.row.id), "snapshot": run.left[Phase.SNAPSHOT]["name"], "seed": run.row.seed} | known
    more = [challenge.section()] if challenge else []
    page = write_report(run.checkpoint.folder, decision, champion, candidate, pool, facts, more)
    return {"decision": decision.record(), "figures": known, "report": str(page.relative_to(run.plan.home))}


def other_camera(run: Run) -> str | None:
    """Why the images were not taken as those were that the champion knows."""
    good = [item for item in items(run, *LEARNED, Split.TEST) if not item.is_anomaly]
    with run.database.begin() as session:
        older = seen_before(session, run, good)
        same_since = drift.reference_renewed(session, run.row.recipe)

    def read(item: SnapshotItem) -> Image:
        run.progress(0, 1, "whether the camera has moved")
        return decode(run.store.get(item.sha256), maximum_megapixels=run.plan.maximum_megapixels)

    return camera.moved(good, older, same_since, read, run.row.seed)


def seen_before(session: Session, run: Run, good: Sequence[SnapshotItem]) -> frozenset[str]:
    """Images the champion was made from and judged by; without a snapshot of its own, those it was taught from."""
    champion = session.get_one(ModelVersion, run.left[Phase.SNAPSHOT]["champion"])
    if champion.snapshot is not None:
        known = snapshots.items(session, champion.snapshot)
        return frozenset(item.sha256 for item in known if item.source is ItemSource.OPERATOR)
    return frozenset(item.sha256 for item in good if item.source is ItemSource.TAUGHT)


def noisy_labels(run: Run, policy: GatePolicy) -> str | None:
    """Why the labels cannot be learned from, as images like each other tell."""
    learned = [item for item in items(run, *LEARNED) if item.label_id is not None]
    judged = items(run, Split.TEST)
    with run.database.begin() as session:
        rows = image_looks.known(session, METHOD, [item.sha256 for item in (*learned, *judged)])
    vectors = {row.sha256: np.frombuffer(row.embedding, "<f4") for row in rows if row.embedding is not None}
    learned, judged = ([item for item in some if item.sha256 in vectors] for some in (learned, judged))
    if not learned or not judged:
        return None
    parts = [item.part_key for item in learned]
    here = partial(tell_noise, run)
    noise = refusal.label_noise(*embedded(learned, vectors), parts, *embedded(judged, vectors), policy.seed, here)
    return noise.refused(policy.maximum_label_noise) if noise else None


def tell_noise(run: Run, share: float) -> None:
    run.progress(round(100 * share), 100, "whether the labels contradict their neighbours")


def embedded(some: list[SnapshotItem], vectors: dict[str, Any]) -> tuple[refusal.Vectors, refusal.Truth]:
    stacked = np.stack([vectors[item.sha256] for item in some]).astype(np.float64)
    return stacked, np.array([item.is_anomaly for item in some])


def figures(run: Run, champion: Evaluation, candidate: Evaluation, decision: GateDecision) -> dict[str, Any]:
    """What a person looks at first."""
    truth = candidate.is_anomaly
    counts = run.left[Phase.SNAPSHOT]["counts"]
    return {
        "f1_before": f1(champion),
        "f1_after": f1(candidate),
        "first": run.left[Phase.EVALUATE]["first"],
        "pool": {"parts": len(truth), "good": int((~truth).sum()), "anomalies": int(truth.sum())},
        "labels": {split.value: counts.get(split.value) for split in LEARNED},
        "made": run.left[Phase.FIT]["made"],
        "features": {name: run.left[Phase.FEATURES][name] for name in ("images", "looked_at")},
        "checks": {check.name: {"before": check.before, "after": check.after} for check in decision.checks},
    }


def f1(evaluation: Evaluation) -> float:
    """At the model's own threshold, over parts."""
    truth, rejected = evaluation.is_anomaly, evaluation.rejected
    hits = int((truth & rejected).sum())
    return round(2 * hits / max(1, int(truth.sum()) + int(rejected.sum())), 4)


# Deploy


def deploy(run: Run) -> Left:
    """The folder in its place, then the version's row, the deployment and the run's end in one transaction.

    Of a candidate that is refused nothing comes among the models.
    """
    judged = run.left[Phase.GATE]
    if not judged["decision"]["refused"] and (reason := altered(run)):
        judged = answered(run, gatekeeper.refusal(reason))
    decision = judged["decision"]
    if decision["refused"]:
        with run.database.begin() as session:
            end(run, session, judged, promoted=False, sentence=decision["sentence"])
        return {"promoted": False}
    made = run.left[Phase.FIT]
    folder = run.plan.models / made["version"]
    with run.database.begin() as session:
        name_is_free(session, made["version"])
        copy_durably(run.checkpoint.candidate, folder, made["sha256"])
        row = version_row(run, load(folder, made["sha256"]))
        records.register_model(session, row)
        promoted, sentence = decision["promoted"], decision["sentence"]
        if promoted:
            promoted, sentence = put_to_work(run, session, row, sentence)
        end(run, session, judged, promoted=promoted, sentence=sentence, candidate=row.id)
    return {"promoted": promoted}


def end(run: Run, session: Session, judged: Left, **facts: Any) -> None:
    training_runs.end(
        session,
        run.row.id,
        RunState.DONE,
        phase=Phase.DEPLOY,
        progress=1.0,
        detail="",
        figures=judged["figures"] | {"seconds": run.seconds},
        report=judged["report"],
        **facts,
    )


def name_is_free(session: Session, version: str) -> None:
    if session.get(ModelVersion, version) is not None:
        raise TrainingRefused(f"another model took the name {version} while this one was trained: run it again")


def copy_durably(source: Path, folder: Path, sha256: str) -> None:
    """Checked before it is in its place: there is nothing among the models that is not what it says."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, draft, copy_function=linked)
    try:
        check_model(draft, sha256)
    except ModelError:
        shutil.rmtree(draft)
        raise
    put_in_place(draft, folder)


def linked(source: str, target: str) -> None:
    link_or_copy(Path(source), Path(target))


def version_row(run: Run, detector: Detector) -> ModelVersion:
    made = run.left[Phase.FIT]
    settings = {key: value for key, value in run.recipe.items() if key not in ("teach", "gate", "retrain")}
    return ModelVersion(
        id=made["version"],
        recipe=run.row.recipe,
        detector=detector.name,
        sha256=made["sha256"],
        configuration=settings
        | {"memory_from": made["memory"]}
        | {name: made.get(name, {}) for name in ("memory_scores", "represented")},
        ok_threshold=detector.ok_threshold,
        ng_threshold=detector.ng_threshold,
        metrics={
            "calibration": asdict(detector.calibration),
            "promise": promised(detector.calibration),
            "gate": run.left[Phase.GATE]["decision"],
        },
        parent=run.left[Phase.SNAPSHOT]["champion"],
        snapshot=run.left[Phase.SNAPSHOT]["name"],
        training_run=run.row.id,
        code_version=code_version(),
    )


def put_to_work(run: Run, session: Session, row: ModelVersion, sentence: str) -> tuple[bool, str]:
    """Deploy, unless somebody has deployed another version since: against that one it was not judged."""
    champion = records.deployed_model(session, run.row.recipe)
    if champion is None or champion.id != row.parent:
        other = champion.id if champion else "none"
        return False, f"not deployed: {other} became the champion while this was trained; it was judged against " + (
            f"{row.parent}. The gate said: {sentence}"
        )
    wish = Wish(run.row.recipe, row.id, BY_ITSELF, sentence)
    done = deployments.ask(session, wish, two_persons=run.recipe["approval"] == "two")
    if isinstance(done, DeploymentRequest):
        return False, f"waits for a second person (request {done.id}); the gate said: {sentence}"
    return True, sentence


STEPS: Final[dict[Phase, Callable[[Run], Left]]] = {
    Phase.SNAPSHOT: snapshot,
    Phase.FEATURES: features,
    Phase.FIT: fit,
    Phase.EVALUATE: evaluate,
    Phase.GATE: gate,
    Phase.DEPLOY: deploy,
}
