"""Training runs: killed in every phase, cancelled, refused; never a half model, never two at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from uuid import UUID

import psycopg2.errors
import pytest
from sqlalchemy import text

from storage import snapshots, training_runs
from storage.database import Database
from storage.errors import TrainingEnded
from storage.model_files import check_model
from storage.snapshot_models import Split
from storage.stream import EventLog
from storage.training_models import Cause, Phase, RunState, TrainingRun
from tests.conftest import execute
from tests.facts import RECIPE, Plant
from tests.integration.school import LABELS, School
from tests.integration.test_queue import NORMAL
from tests.integration.test_snapshots import MARKED, texture


@pytest.fixture
def school(plant: Plant, log: EventLog, tmp_path: Path) -> School:
    return School(plant, log, tmp_path)


def test_a_trainer_killed_in_every_phase_leaves_no_half_model_and_the_run_is_resumed(
    school: School, database: Database
) -> None:
    school.teach()
    school.label(range(LABELS))
    run_id = school.ask()
    before = {row.id for row in school.versions()}
    for phase in [*Phase][:-1]:
        school.kill_in(run_id, phase)
        assert school.run(run_id).state is RunState.RUNNING
        assert {row.id for row in school.versions()} == before
    killed_while_it_deploys(school, database, run_id)
    with school.training() as trainer:
        assert school.ended(trainer) == 0, (school.home / "trainer.log").read_text()
    run = school.run(run_id)
    assert (run.state, run.attempt, run.error) == (RunState.DONE, len(Phase) + 1, None)
    assert run.sentence and run.candidate and run.figures["pool"]["parts"] >= 10
    (made,) = [row for row in school.versions() if row.id not in before]
    assert (made.id, made.training_run, made.snapshot, made.parent) == (
        run.candidate,
        run_id,
        run.snapshot,
        run.champion,
    )
    check_model(school.plan.models / made.id, made.sha256)
    assert school.models() == {row.id for row in school.versions()}
    left = {path.name for path in (school.plan.training / str(run_id)).iterdir()}
    assert left == {"report.html", "report.json"} and run.report == f"training/{run_id}/report.html"
    with pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        execute(database.url, "UPDATE training_runs SET promoted = false")


def test_a_run_judges_the_challenge_parts_beside_the_pool_and_tells_of_them(school: School) -> None:
    school.teach()
    with school.database.begin() as session:
        for number in (201, 204):  # the second is cracked
            school.seen(texture(number, cracked=number % 4 == 0), part_id=f"P-{number}")
            school.decide("anna", MARKED if number % 4 == 0 else NORMAL)
            snapshots.add_challenge(session, RECIPE, f"part:P-{number}", "eve", "escaped once")
    school.label(range(LABELS))
    run_id = school.ask()
    with school.training() as trainer:
        assert school.ended(trainer) == 0, (school.home / "trainer.log").read_text()
    run = school.run(run_id)
    challenge, checks = run.figures["challenge"], run.figures["checks"]
    assert (challenge["parts"], challenge["anomalies"]) == (2, 1)
    assert checks["challenge parts caught"] == challenge["caught"]
    assert not (run.promoted and challenge["missed"])
    assert run.report is not None
    page = (school.home / run.report).read_text()
    assert "Challenge parts" in page and "part:P-204" in page and "part:P-201" in page
    with school.database.begin() as session:
        assert run.snapshot is not None
        learned = {one.part_key for one in snapshots.items(session, run.snapshot, Split.TRAIN, Split.VALIDATION)}
        assert {one.part_key for one in snapshots.items(session, run.snapshot, Split.CHALLENGE)} == {
            "part:P-201",
            "part:P-204",
        }
        taught = session.execute(
            text("SELECT part_key, decided_by FROM v_model_images WHERE model_version = :version"),
            {"version": run.candidate},
        ).all()
    assert not learned & {"part:P-201", "part:P-204"}
    assert {row.part_key for row in taught} == learned and {row.decided_by for row in taught} == {"anna"}


def killed_while_it_deploys(school: School, database: Database, run_id: UUID) -> None:
    """Within the last transaction: the folder is in its place, and neither the version nor the run's end on record."""
    execute(
        database.url,
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$",
        "CREATE TRIGGER dawdle BEFORE INSERT ON model_versions FOR EACH ROW EXECUTE FUNCTION dawdle()",
    )
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'INSERT INTO model_versions%' AND state = 'active'"
    with school.training() as trainer:
        while (backend := school.value(sleeping)) is None:
            assert trainer.ended() is None, (school.home / "trainer.log").read_text()
            time.sleep(0.02)
        os.kill(trainer.pid, signal.SIGKILL)
        school.ended(trainer)
    assert len(school.models()) == len(school.versions()) + 1
    assert school.run(run_id).state is RunState.RUNNING
    with database.begin() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backend})
    execute(database.url, "DROP TRIGGER dawdle ON model_versions")


def test_a_run_that_dies_too_often_fails_with_what_is_known_and_the_next_one_begins(school: School) -> None:
    """Without labels there is nothing to learn from: that fails at once, a silent death after so many attempts."""
    first = school.ask()
    with school.database.begin() as session:
        for _ in range(2):
            row = training_runs.work(session, 2)
            assert row is not None and row.id == first
            training_runs.note(session, first, phase=Phase.FIT)
    with school.database.begin() as session:
        second = training_runs.ask(session, RECIPE, Cause.LABELS, "adline", 0)
        row = training_runs.work(session, 2)
    assert row is not None and row.id == second.id
    failed = school.run(first)
    assert failed.state is RunState.FAILED
    assert failed.error == "its process ended without a word in 2 attempts, the last in phase fit"
    with school.training() as trainer:
        assert school.ended(trainer) == 0
    assert "no part has a label" in str(school.run(second.id).error)


def test_only_one_trains_at_a_time(school: School, database: Database) -> None:
    run_id = school.ask()
    with database.engine.connect() as connected:
        assert training_runs.try_lock(connected) and training_runs.holds_lock(connected)
        with school.training() as trainer:
            assert school.ended(trainer) == 3
    assert school.run(run_id).state is RunState.QUEUED
    with database.begin() as session:
        training_runs.work(session, 3)
    with pytest.raises(psycopg2.errors.UniqueViolation):
        execute(
            database.url,
            "INSERT INTO training_runs (id, recipe, cause, requested_by, seed, state) "
            "VALUES (gen_random_uuid(), 'other', 'hand', 'eve', 0, 'running')",
        )


def test_a_recipe_has_one_run_that_waits(school: School) -> None:
    assert school.ask() == school.ask()


def test_labels_are_counted_since_the_last_run_and_no_further_than_is_asked(school: School) -> None:
    school.label(range(5))
    with school.database.begin() as session:
        assert [training_runs.new_labels(session, RECIPE, most) for most in (0, 3, 100)] == [0, 3, 5]
        assert training_runs.new_labels(session, "other", 100) == 0
    school.ask()
    with school.database.begin() as session:
        assert training_runs.new_labels(session, RECIPE, 100) == 5, "a run that waits has taken no snapshot"
        training_runs.work(session, 3)
    with school.database.begin() as session:
        assert training_runs.new_labels(session, RECIPE, 100) == 0


def test_a_run_that_waits_is_cancelled_at_once_and_one_that_runs_is_told(school: School) -> None:
    waits = school.ask()
    with school.database.begin() as session:
        assert training_runs.cancel(session, waits, "eve").state is RunState.CANCELLED
    with school.database.begin() as session, pytest.raises(TrainingEnded):
        training_runs.cancel(session, waits, "eve")
    runs = school.ask()
    with school.database.begin() as session:
        training_runs.work(session, 3)
        assert not training_runs.note(session, runs, progress=0.5)
        training_runs.cancel(session, runs, "eve")
        assert training_runs.note(session, runs, progress=0.6)
    with school.training() as trainer:
        assert school.ended(trainer) == 0
    ended = school.run(runs)
    assert (ended.state, ended.cancel_asked_by) == (RunState.CANCELLED, "eve")


def test_a_run_is_cancelled_while_it_learns(school: School) -> None:
    """In the longest of all phases, which tells how far it is."""
    school.recipe["retrain"] = school.recipe["retrain"] | {"fine_tune_from": 5}
    school.teach()
    school.label(range(LABELS))
    run_id = school.ask()
    with school.training() as trainer:
        while not learning(school.run(run_id)):
            assert trainer.ended() is None, (school.home / "trainer.log").read_text()
            time.sleep(0.05)
        with school.database.begin() as session:
            training_runs.cancel(session, run_id, "eve")
        asked = school.run(run_id)
        assert school.ended(trainer) == 0
    ended = school.run(run_id)
    assert (ended.state, ended.phase, ended.cancel_asked_by) == (RunState.CANCELLED, Phase.FIT, "eve")
    assert asked.progress <= ended.progress < min(1, asked.progress + 0.3), "it looks again and again while it learns"
    assert school.models() == {row.id for row in school.versions()}


def learning(run: TrainingRun) -> bool:
    return run.phase == Phase.FIT and (run.detail or "").startswith("learning: ") and 0 < run.progress < 0.9


def test_the_trainer_ends_with_who_started_it(school: School) -> None:
    """The pipe's other end is closed by the kernel when the parent dies, however it dies."""
    school.teach()
    school.label(range(LABELS))
    school.ask()
    with school.training() as trainer:
        assert trainer.process.stdin is not None
        trainer.process.stdin.close()
        assert school.ended(trainer) == 0
