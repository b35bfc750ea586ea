"""Is the schema in the database the one this code was written for?"""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from storage.database import check_schema, connection
from storage.drift_models import DriftAcknowledgement, DriftAlarm, DriftMeasurement, DriftReference
from storage.errors import SchemaOutdated
from storage.label_models import DefectClass, Label, Region
from storage.people_rows import SECRET_TABLES, PeopleEvent
from storage.snapshot_models import ChallengePart, DatasetSnapshot, PoolPart, Release, SetAside, SnapshotItem
from storage.training_models import TrainingRun

APPEND_ONLY = (
    *("deployments", "frames", "inspections", "model_versions", "predictions", "recipes", "threshold_settings"),
    *("deployment_answers", "deployment_requests", "model_swaps"),
    *("verdicts", *(row.__tablename__ for row in (DefectClass, Label, Region, PeopleEvent))),
    *(row.__tablename__ for row in (DatasetSnapshot, SnapshotItem, SetAside, Release, PoolPart, ChallengePart)),
    *(row.__tablename__ for row in (DriftReference, DriftMeasurement, DriftAlarm, DriftAcknowledgement)),
)
VIEWS = (
    *("v_defect_history", "v_model_deployments", "v_operator_decisions", "v_part_history", "v_people_history"),
    *("v_protected_parts", "v_set_aside", "v_snapshot_items", "v_threshold_settings", "v_training_runs"),
    *("v_deployment_requests", "v_model_swaps", "v_part_model", "v_shadow", "v_shadow_parts", "v_drift_alarms"),
    "v_model_images",
)


def schema_differences(url: str) -> list[str]:
    """Everything in which the database differs from what this code needs; nothing when all is well."""
    try:
        check_schema(url)
    except SchemaOutdated as error:
        return [str(error)]
    with connection(url) as connected:
        return [
            *unprotected(connected),
            *unhidden(connected),
            *missing_views(connected),
            *model_differences(connected),
        ]


def model_differences(connected: Connection) -> list[str]:
    """Tables, columns, indexes and keys, compared with storage.models."""
    context = MigrationContext.configure(connected, opts={"compare_type": True, "include_name": is_modelled})
    return [described(step) for found in compare_metadata(context, TrainingRun.metadata) for step in steps(found)]


def is_modelled(name: str | None, kind: str, parents: object) -> bool:
    """All but the embeddings: their table is there only where the extension `vector` is."""
    return (kind, name) != ("table", "embeddings")


def steps(found: Any) -> list[Any]:
    """Changes of one column come in a list of their own."""
    return list(found) if isinstance(found, list) else [found]


def described(step: tuple[Any, ...]) -> str:
    """In words: alembic says what would have to be done."""
    action, *facts = step
    words = [
        str(getattr(fact, "name", None) or fact) for fact in facts if isinstance(fact, str) or hasattr(fact, "name")
    ]
    return f"to be as the code needs it: {action.replace('_', ' ')} {' '.join(words)}".rstrip()


def unprotected(connected: Connection) -> list[str]:
    """History that could be changed without a trace."""
    armed = connected.scalars(
        text(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only' AND tgenabled IN ('O', 'A') "
            "AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
        )
    ).all()
    missing = sorted(set(APPEND_ONLY) - set(armed))
    return [f"{table}: the trigger append_only is missing or disabled; rows could be changed" for table in missing]


def unhidden(connected: Connection) -> list[str]:
    """Secrets that a question of the auditor could read."""
    hidden = connected.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relnamespace = current_schema()::regnamespace "
            "AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)"
        )
    ).all()
    missing = sorted(set(SECRET_TABLES) - set(hidden))
    return [f"{table}: row security is off or has a policy; the auditor could read secrets" for table in missing]


def missing_views(connected: Connection) -> list[str]:
    there = connected.scalars(
        text("SELECT viewname FROM pg_views WHERE schemaname = current_schema()"),
    ).all()
    return [f"{view}: the view is missing" for view in sorted(set(VIEWS) - set(there))]
