"""What the loop came to, from the training runs on record; and how the terminal tells it meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from cli.display import training
from cli.start import loop_in_words
from orchestrator.closed_loop import told
from orchestrator.health import LineHealth
from storage.training_models import TrainingRun

POOL = {"parts": 180, "good": 120, "anomalies": 60}


def run(promoted: bool = False, **figures: Any) -> TrainingRun:
    return TrainingRun(promoted=promoted, figures=figures)


def judged(before: float, after: float, first: float | None, parts: int, promoted: bool = False) -> TrainingRun:
    named = {"model": "first", "f1": first} if first is not None else None
    return run(promoted, f1_before=before, f1_after=after, first=named, pool=POOL | {"parts": parts})


def test_nothing_is_told_of_runs_that_judged_nothing() -> None:
    nothing = {"f1_before": None, "f1_after": None, "pool": 0}
    assert told([]) == nothing
    assert told([run(), run()]) == nothing


def test_the_first_model_and_the_last_promoted_one_are_told_on_the_pool_of_the_last_promotion() -> None:
    runs = [judged(0.80, 0.88, None, 100, True), judged(0.87, 0.93, 0.82, 180, True), judged(0.92, 0.91, 0.83, 240)]
    assert told(runs) == {"f1_before": 0.82, "f1_after": 0.93, "pool": 180}
    assert told(runs[:1]) == {"f1_before": 0.80, "f1_after": 0.88, "pool": 100}


def test_where_nothing_was_promoted_the_champion_still_is_what_it_was() -> None:
    assert told([run(), judged(0.80, 0.70, None, 100)]) == {"f1_before": 0.80, "f1_after": 0.80, "pool": 100}


def test_the_summary_tells_labels_apart_from_what_nobody_could_tell() -> None:
    summary = {
        **{"labels": 80, "training_runs": 1, "promoted": 1, "decided": {"normal": 50, "anomaly": 30, "cannot_tell": 7}},
        **{"f1_before": 0.8, "f1_after": 0.9, "pool": 20, "pool_cells": {"mono": 20}},
        **{"parts_per_second_training": None, "parts_per_second_idle": None},
        "runs": [{"sentence": "promoted: better", "error": None, "state": "done"}],
    }
    assert loop_in_words(summary) == [
        "80 labels (7 parts of which nobody could tell), 1 training runs, 1 promoted",
        "  promoted: better",
        "F1 on 20 protected parts (20 mono): 0.800 before, 0.900 after",
    ]


def test_the_terminal_shows_f1_before_and_after_beside_the_gates_sentence() -> None:
    newest = {"words": "cells: promoted", "step": "cells: promoted", "f1_before": 0.8, "f1_after": 0.9}
    facts = {"new_labels": {"cells": 3}, "after_labels": {"cells": 400}, "newest": newest}
    health = cast(LineHealth, SimpleNamespace(workers=[SimpleNamespace(facts={"training": facts})]))
    said = "cells: promoted (F1 on protected parts: 0.800 before, 0.900 with the candidate)"
    assert list(training(health)) == ["  cells: 3 new labels, retrained after 400", f"  {said}"]
    assert list(training(health, steps=False)) == [f" {said}"]
    facts["newest"] = newest | {"f1_before": None, "f1_after": None}
    assert list(training(health, steps=False)) == [" cells: promoted"]
