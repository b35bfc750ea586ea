"""A training run that has ended, with the page that its gate wrote."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from storage import records, training_runs
from storage.database import Database
from storage.training_models import Cause, Phase, RunState
from tests.facts import RECIPE, model, picture
from tests.unit.test_gate import POLICY, evaluation
from workers.retrain.gate import decide
from workers.retrain.pool import PoolItem
from workers.retrain.report import write_report


def report_on_record(database: Database, home: Path, candidate: str = "retrained", report: str = "") -> UUID:
    """The run's id; its report says why the candidate was promoted. report: another file on record than its own."""
    champion, better = evaluation("old", 0.3), evaluation(candidate, 0.5)
    decision = decide(champion, better, POLICY)
    items = [
        PoolItem(one.name, one.part, one.is_anomaly, lambda: picture(100, 64, 48), one.defects) for one in better.images
    ]
    with database.begin() as session:
        run = training_runs.ask(session, RECIPE, Cause.HAND, "eun-ji", 0)
        training_runs.begun(session, run)
        page = write_report(home / "training" / str(run.id), decision, champion, better, items)
        gate = {"gate": decision.record()}
        records.register_model(session, model(candidate, training_run=run.id, metrics=gate))
        facts = {"phase": Phase.DEPLOY, "candidate": candidate, "promoted": True, "sentence": decision.sentence}
        figures = {"f1_before": 0.91, "f1_after": 0.95, "pool": {"parts": 240}}
        report = report or str(page.relative_to(home))
        training_runs.end(session, run.id, RunState.DONE, figures=figures, report=report, **facts)
    return run.id
