"""What is written down: once, in order, by nobody changed; and what is missing is found by asking."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError

from storage import audit, records
from storage.database import Database
from storage.events import InspectionDecided, ReviewReason, Verdict, new_id
from storage.models import Frame, Inspection, InspectionVerdict, Prediction
from tests.facts import MODEL, RECIPE, STATION, Plant, frame, model, prediction


def counts(database: Database) -> tuple[int, ...]:
    tables = ("inspections", "frames", "predictions", "verdicts", "reviews")
    with database.begin() as session:
        return tuple(session.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables)


def write(database: Database, *events: InspectionDecided) -> set[object]:
    with database.begin() as session:
        return set(records.record_verdicts(session, events))


def test_a_verdict_is_written_with_all_that_led_to_it(database: Database, plant: Plant) -> None:
    event = plant.decided(plant.captured(plant.trigger(), frame("top"), frame("side")), 0.5)
    assert write(database, event) == {event.trigger.inspection_id}
    assert counts(database) == (1, 2, 2, 1, 1)


def test_only_what_had_no_verdict_before_is_new(database: Database, plant: Plant) -> None:
    events = [plant.decided(score=0.5) for _ in range(300)]  # more than one page of insertmanyvalues would show
    write(database, *events[:150])
    new = write(database, *events, *events)
    assert new == {event.trigger.inspection_id for event in events[150:]}
    assert write(database, *events) == set()
    assert counts(database) == (300, 300, 300, 300, 300)


def test_the_decision_told_first_counts_and_its_prediction_alone_is_kept(database: Database, plant: Plant) -> None:
    with database.begin() as session:
        records.register_model(session, model("other"))
    first = plant.decided(score=0.9)
    again = first.model_copy(
        update={
            "verdict": Verdict.REVIEW,
            "review_reason": ReviewReason.UNCERTAIN,
            "predictions": (prediction(first.frames[0], 0.5, "other"),),
        }
    )
    assert write(database, first, again) == {first.trigger.inspection_id}
    assert write(database, again) == set()
    assert counts(database) == (1, 1, 1, 1, 0)
    with database.begin() as session:
        verdict = session.scalars(select(InspectionVerdict)).one()
        assert (verdict.verdict, verdict.model_version, verdict.anomaly_score) == (Verdict.NG, MODEL, 0.9)
        assert session.scalars(select(Prediction.model_version)).all() == [MODEL]


def test_a_capture_may_come_before_or_after_its_decision(database: Database, plant: Plant) -> None:
    early, late = plant.captured(), plant.captured()
    with database.begin() as session:
        records.record_captures(session, [early, early])
        records.record_verdicts(session, [plant.decided(early), plant.decided(late)])
        records.record_captures(session, [late])
    assert counts(database) == (2, 2, 2, 2, 0)


def test_two_writers_of_the_same_verdicts_write_each_once(database: Database, plant: Plant) -> None:
    events = [plant.decided() for _ in range(40)]
    new: list[set[object]] = []
    threads = [threading.Thread(target=lambda: new.append(write(database, *events))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(new[0]) + len(new[1]) == 40 == len(new[0] | new[1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None), max_size=80) | st.text("\0\ud800\udfffab", max_size=5))
def test_any_text_can_be_written_down(database: Database, plant: Plant, name: str) -> None:
    event = plant.captured(plant.trigger(part_id=name, lot=name, product=name), frame(source=name))
    decided = InspectionDecided.error(event, name)
    again = InspectionDecided.model_validate_json(decided.model_dump_json())
    assert again == decided
    assert write(database, again) == {event.trigger.inspection_id}


def test_a_score_that_is_no_number_is_no_event(plant: Plant) -> None:
    for score in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            prediction(frame(), score)


WRONG: dict[str, dict[str, Any]] = {
    "station": {"station": "nowhere"},
    "run_id": {"run_id": new_id()},
    "number": {"number": 2**70},
    "part_id": {"part_id": "".join(map(chr, range(300, 9000)))},  # longer than an index takes
}


@pytest.mark.parametrize("wrong", ["station", "run_id", "score", "model", "number", "part_id"])
def test_what_postgres_refuses_is_no_outage(database: Database, plant: Plant, wrong: str) -> None:
    event = plant.decided(plant.captured(plant.trigger(**WRONG.get(wrong, {}))))
    if wrong == "score":
        event = event.model_copy(update={"predictions": (prediction(event.frames[0], 1.5),)})
    if wrong == "model":
        event = event.model_copy(update={"predictions": (prediction(event.frames[0], 0.5, "unknown"),)})
    with pytest.raises((IntegrityError, DataError, OperationalError)):
        write(database, event)
    assert counts(database) == (0, 0, 0, 0, 0)


def test_a_captured_part_without_a_verdict_is_found_and_told_as_it_was(database: Database, plant: Plant) -> None:
    waiting = plant.captured(plant.trigger(part_id="A1", lot="L"), frame("top", exposure_microseconds=5.0))
    done = plant.captured()
    with database.begin() as session:
        records.record_captures(session, [waiting, done])
        records.record_verdicts(session, [plant.decided(done)])
    with database.begin() as session:
        assert records.overdue(session, timedelta(seconds=60)) == []
        ((event, recorded_at),) = records.overdue(session, timedelta(0))
    assert recorded_at.tzinfo is not None
    assert event.model_copy(update={"told_at": waiting.told_at}) == waiting


def test_a_recipe_has_a_version_for_each_configuration(database: Database, plant: Plant) -> None:
    def register(name: str, **configuration: object) -> int:
        with database.begin() as session:
            return records.register_recipe(session, name, configuration)

    one, two = register("a", size=1, kind="x"), register("a", size=2)
    assert register("a", kind="x", size=1) == one != two
    assert register("b", size=2) not in (one, two)


def test_the_model_deployed_last_is_the_champion(database: Database, plant: Plant) -> None:
    with database.begin() as session:
        records.register_model(session, model("second"))
        records.deploy(session, RECIPE, "second", "me", "better")
        records.deploy(session, RECIPE, MODEL, "me", "rolled back")
        champion = records.deployed_model(session, RECIPE)
        assert champion is not None and champion.id == MODEL
        assert records.deployed_model(session, "unknown") is None
        assert records.next_model_id(session, RECIPE, "20260101") == "bracket-20260101-2"
        assert records.next_model_id(session, "b_acket", "20260101") == "b_acket-20260101-1"


@pytest.mark.parametrize("table", [Inspection, Frame, Prediction, InspectionVerdict])
def test_history_takes_no_changes(database: Database, plant: Plant, table: type) -> None:
    write(database, plant.decided())
    for statement in ("DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with pytest.raises((IntegrityError, ProgrammingError)), database.begin() as session:
            session.execute(text(statement.format(table.__tablename__)))  # type: ignore[attr-defined]  # a row class
    assert counts(database) == (1, 1, 1, 1, 0)


def test_the_summary_counts_what_is_on_record_of_the_run(database: Database, plant: Plant) -> None:
    events = [plant.decided(plant.captured(plant.trigger(n)), n / 10) for n in range(1, 10)]
    write(database, *events, InspectionDecided.error(plant.captured(plant.trigger(10)), "why"))
    with database.begin() as session:
        summary = records.summarise_run(session, plant.run_id)
        assert records.recorded(session, plant.run_id) == summary.parts == summary.distinct == 10
        assert summary.verdicts == {"OK": 3, "NG": 4, "REVIEW": 2, "ERROR": 1}
        assert records.open_reviews(session)[0] == summary.open_reviews == 2
        assert records.highest_trigger_number(session, STATION) == 10
        assert records.models_of_run(session, plant.run_id) == [MODEL]
        assert records.summarise_run(session, new_id()).shown()["parts_per_second"] is None


def test_the_life_of_a_part_is_found_by_its_name_its_inspection_and_its_image(database: Database, plant: Plant) -> None:
    event = plant.decided(plant.captured(plant.trigger(part_id="A1"), frame("top"), frame("side", b"other")))
    write(database, event, plant.decided())
    with database.begin() as session:
        for name in ("A1", str(event.trigger.inspection_id)):
            assert [row["camera"] for row in audit.part(session, name)] == ["side", "top"]
        assert len(audit.image(session, event.frames[1].sha256.upper())) == 1
        assert len(audit.image(session, event.frames[1].md5)) == 1
        newest, older = audit.newest(session, 2)
        assert audit.newest(session, 5, newest["inspection_id"]) == [older]
        assert audit.part(session, "' OR 1=1 --") == []
