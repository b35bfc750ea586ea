"""What challengers and canaries said, on record: a report of it, and a canary that is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.registry import Registry
from storage import deployments, records
from storage.deployments import Alias, Wish
from storage.events import InspectionDecided, PartShadowed, PredictionFacts, now
from storage.models import Deployment
from tests.facts import MODEL, RECIPE, Plant, model
from workers.canary_watch import watch_canaries
from workers.inference.verdict import CANARY_BITS, drawn


@pytest.fixture
def challenged(plant: Plant) -> Plant:
    with plant.database.begin() as session:
        records.register_model(session, model("second"))
        deployments.ask(session, Wish(RECIPE, "second", "anna", "watch it", Alias.CHALLENGER))
    return plant


def decided(plant: Plant, score: float, by: Deployment | None = None, version: str = MODEL) -> InspectionDecided:
    event = plant.decided(score=score)
    facts = {"model_version": version, "deployment_id": by.id if by else None}
    return event.model_copy(update={"predictions": tuple(one.model_copy(update=facts) for one in event.predictions)})


def shadowed(event: InspectionDecided, score: float, deployment_id: int) -> PartShadowed:
    update = {"model_version": "second", "anomaly_score": score, "deployment_id": deployment_id}
    facts: tuple[PredictionFacts, ...] = tuple(one.model_copy(update=update) for one in event.predictions)
    return PartShadowed(
        trigger=event.trigger,
        recipe=event.recipe,
        recipe_id=event.recipe_id,
        frames=event.frames,
        predictions=facts,
        scored_at=now(),
    )


def test_the_report_tells_what_a_challenger_would_have_changed(challenged: Plant) -> None:
    scores = [(0.1, 0.2), (0.2, 0.1), (0.5, 0.7), (0.7, 0.5), (0.9, 0.95), (0.3, 0.45)]
    events = [decided(challenged, mine) for mine, _ in scores]
    with challenged.database.begin() as session:
        challenger = deployments.newest(session, RECIPE)[Alias.CHALLENGER]
        told = [shadowed(event, other, challenger.id) for event, (_, other) in zip(events, scores, strict=True)]
        records.record_shadows(session, told[:2])  # before their verdicts, as may happen
        records.record_verdicts(session, [*events, decided(challenged, 0.1)])
        records.record_shadows(session, [*told, *told])
        report = Registry(session, Path("nowhere"), {}).shadow(RECIPE)
    (beside,) = report["beside"]
    assert (report["challenger"], report["watches"], report["not_scored"]) == ("second", True, 1)
    assert (beside["parts"], beside["differ"], beside["stricter"], beside["milder"]) == (6, 3, 2, 1)
    assert beside["rank_correlation"] == pytest.approx(0.8857, abs=1e-3)
    assert {(one["judged"], one["would_be"]) for one in report["changed"]} == {
        ("REVIEW", "NG"),
        ("NG", "REVIEW"),
        ("OK", "REVIEW"),
    }


def test_what_a_challenger_said_is_in_no_parts_history(challenged: Plant) -> None:
    from storage import audit

    event = decided(challenged, 0.1)
    with challenged.database.begin() as session:
        challenger = deployments.newest(session, RECIPE)[Alias.CHALLENGER]
        records.record_verdicts(session, [event])
        records.record_shadows(session, [shadowed(event, 0.9, challenger.id)])
        (view,) = audit.part(session, str(event.trigger.inspection_id))
    assert (view["model_version"], view["verdict"]) == (MODEL, "OK")


@pytest.mark.parametrize(("canary_score", "taken"), [(0.2, False), (0.8, True)])
def test_a_canary_whose_verdicts_drift_from_its_shadow_is_taken_back_on_record(
    challenged: Plant, canary_score: float, taken: bool
) -> None:
    share = 0.5
    with challenged.database.begin() as session:
        watched = deployments.newest(session, RECIPE)
        events = [decided(challenged, 0.1, watched[Alias.CHAMPION]) for _ in range(60)]
        records.record_verdicts(session, events)
        records.record_shadows(session, [shadowed(event, 0.2, watched[Alias.CHALLENGER].id) for event in events])
        canary = deployments.ask(session, Wish(RECIPE, "second", "anna", "try it", Alias.CANARY, share))
        assert isinstance(canary, Deployment)
        parts = [decided(challenged, 0.1) for _ in range(240)]
        mine = [one for one in parts if drawn(one.trigger.inspection_id, share, CANARY_BITS)]
        judged = [decided(challenged, canary_score, canary, "second") for _ in mine]
        others = [decided(challenged, 0.1, watched[Alias.CHAMPION]) for _ in range(240 - len(mine))]
        records.record_verdicts(session, [*judged, *others])
    found = watch_canaries(challenged.database)
    assert [(one.deployed_by, one.share) for one in found] == ([("adline", 0.0)] if taken else [])
    with challenged.database.begin() as session:
        assert (Alias.CANARY in deployments.holders(session, RECIPE)) is not taken
        newest = deployments.history(session, RECIPE, 1)[0]
    if taken:
        assert newest["reason"].startswith("its verdicts drifted: not OK: ")
        assert "in the shadow 0 of 60 (0.0%)" in newest["reason"]
    assert watch_canaries(challenged.database) == []
