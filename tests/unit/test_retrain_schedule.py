"""When a model is due to be retrained, and how fast the line was meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.closed_loop import rates
from orchestrator.oracle import decision
from storage.training_models import Cause
from workers.retrain.retraining import refreshing
from workers.retrain.schedule import Schedule, Standing, due

NIGHT = datetime(2026, 11, 24, 2, 59, tzinfo=UTC)
NIGHTLY = Schedule(cron="0 3 * * *")


@pytest.mark.parametrize(
    ("schedule", "standing", "minutes", "cause"),
    [
        (Schedule(), Standing(NIGHT, 10_000, "scores"), 600, None),
        (NIGHTLY, Standing(NIGHT), 0, None),
        (NIGHTLY, Standing(NIGHT), 1, Cause.CRON),
        (NIGHTLY, Standing(NIGHT + timedelta(minutes=2)), 3, None),
        (Schedule(after_labels=50), Standing(NIGHT, 49), 1, None),
        (Schedule(after_labels=50), Standing(NIGHT, 50), 1, Cause.LABELS),
        (Schedule(on_drift=True), Standing(NIGHT, 0, "scores of press"), 1, Cause.DRIFT),
        (Schedule(after_labels=50), Standing(NIGHT, 0, "scores of press"), 1, None),
        (Schedule("0 3 * * *", 50, True), Standing(NIGHT, 99, "scores", "the camera of press moved"), 5, None),
    ],
)
def test_a_model_is_retrained_when_the_plant_wants_it_and_never_while_the_camera_is_at_fault(
    schedule: Schedule, standing: Standing, minutes: int, cause: Cause | None
) -> None:
    assert due(schedule, standing, NIGHT + timedelta(minutes=minutes)) is cause


def test_rates_tell_the_time_of_training_from_the_rest() -> None:
    times = [NIGHT + timedelta(seconds=0.5 * number) for number in range(41)]  # 20 s, two parts a second
    busy = [(NIGHT + timedelta(seconds=5), NIGHT + timedelta(seconds=10)), (times[-1], times[-1] + timedelta(hours=1))]
    assert rates(times, busy) == (2.0, 2.07)
    assert rates(times, []) == (None, 2.05)
    assert rates(times[:1], busy) == (None, None)


def test_a_memory_takes_in_only_parts_that_thresholds_can_do_without() -> None:
    parts = [f"image:{number}" for number in range(10)]
    taken = refreshing(parts, 7, seed=3)
    assert len(taken) == 3 and taken < set(parts)
    assert taken == refreshing(parts[::-1], 7, seed=3)
    assert not refreshing(parts, 10, seed=3)


@pytest.mark.parametrize(
    ("probability", "said"), [(0.0, "normal"), (1.0, "anomaly"), (1 / 3, "cannot_tell"), (None, "cannot_tell")]
)
def test_the_oracle_says_what_the_experts_said(probability: float | None, said: str) -> None:
    answer = decision(probability, has_class=True)
    assert answer["decision"] == said
    assert answer.get("defects", []) == (["crack"] if said == "anomaly" else [])
    assert decision(1.0, has_class=False)["defects"] == []
