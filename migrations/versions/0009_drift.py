"""Drift: references, measurements, alarms and what engineers did about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TABLES = ("drift_references", "drift_measurements", "drift_alarms", "drift_acknowledgements")
VIEW = "v_drift_alarms"
MEANING = "One row for each alarm that frames or scores are not what they were."
COLUMNS = {
    VIEW: {
        "alarm": "Number of the alarm.",
        "station": "Station whose frames changed.",
        "camera": "Camera of the station.",
        "recipe": "Recipe the station runs.",
        "model_version": "Model version whose first frames they were compared with.",
        "cause": "lighting, focus, position, parts, mixed or unknown.",
        "sentence": "What changed, in words.",
        "psi": "Population stability index of the scores; null when there were too few.",
        "ks": "Kolmogorov-Smirnov distance of the scores.",
        "frames": "How many frames were compared.",
        "first_at": "Capture of the first of them.",
        "last_at": "Capture of the last of them.",
        "raised_at": "When the alarm was raised.",
        "pauses_retraining": "Whether nothing was learned by itself until it was acknowledged.",
        "acknowledged_at": "When an engineer acknowledged it; null while nobody did.",
        "acknowledged_by": "Who acknowledged it.",
        "reason": "What was found or done.",
        "new_reference": "Whether later frames are compared with those after the acknowledgement.",
    }
}


def upgrade() -> None:
    create_tables()
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        f"""
        CREATE VIEW {VIEW} AS
        SELECT a.id AS alarm, a.station, a.camera, a.recipe, m.model_version, a.cause, m.sentence, m.psi, m.ks,
               m.frames, m.first_at, m.last_at, a.raised_at, a.pauses_retraining, k.acknowledged_at,
               k.acknowledged_by, k.reason, k.new_reference
        FROM drift_alarms a
        JOIN drift_measurements m ON m.id = a.measurement
        LEFT JOIN drift_acknowledgements k ON k.alarm = a.id
        """
    )
    op.execute(f"COMMENT ON VIEW {VIEW} IS '{MEANING}'")
    for column, meaning in COLUMNS[VIEW].items():
        op.execute(f"COMMENT ON COLUMN {VIEW}.{column} IS '{meaning}'")


def create_tables() -> None:
    op.create_table(
        "drift_references",
        sa.Column("id", sa.BigInteger(), nullable=False),
        *camera_columns(),
        sa.Column("after", sa.BigInteger()),
        *frame_columns(),
        sa.Column("facts", JSONB(), nullable=False),
        sa.Column("edges", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_references"),
        *camera_keys("drift_references"),
    )
    op.create_index(
        "ix_drift_references_station_camera_model_version_id",
        "drift_references",
        ["station", "camera", "model_version", "id"],
    )
    op.create_table(
        "drift_measurements",
        sa.Column("id", sa.BigInteger(), nullable=False),
        *camera_columns(),
        sa.Column("reference", sa.BigInteger(), nullable=False),
        *frame_columns(),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("psi", sa.Float()),
        sa.Column("ks", sa.Float()),
        sa.Column("figures", JSONB(), nullable=False),
        sa.Column("measured_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_measurements"),
        *camera_keys("drift_measurements"),
        sa.ForeignKeyConstraint(["reference"], ["drift_references.id"], name="fk_drift_measurements_reference"),
    )
    op.create_index("ix_drift_measurements_station_camera_id", "drift_measurements", ["station", "camera", "id"])
    op.create_table(
        "drift_alarms",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("measurement", sa.BigInteger(), nullable=False),
        sa.Column("station", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("pauses_retraining", sa.Boolean(), nullable=False),
        sa.Column("raised_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_alarms"),
        sa.ForeignKeyConstraint(["measurement"], ["drift_measurements.id"], name="fk_drift_alarms_measurement"),
        sa.UniqueConstraint("measurement", name="uq_drift_alarms_measurement"),
    )
    op.create_index("ix_drift_alarms_station_camera_id", "drift_alarms", ["station", "camera", "id"])
    op.create_index("ix_drift_alarms_recipe", "drift_alarms", ["recipe"])
    op.create_table(
        "drift_acknowledgements",
        sa.Column("alarm", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("new_reference", sa.Boolean(), nullable=False),
        sa.Column("acknowledged_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("alarm", name="pk_drift_acknowledgements"),
        sa.ForeignKeyConstraint(["alarm"], ["drift_alarms.id"], name="fk_drift_acknowledgements_alarm"),
    )


def camera_columns() -> tuple[sa.Column[str], ...]:
    names = ("station", "camera", "recipe", "model_version")
    return tuple(sa.Column(name, sa.String(), nullable=False) for name in names)


def frame_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
    )


def camera_keys(table: str) -> tuple[sa.ForeignKeyConstraint, ...]:
    return (
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=f"fk_{table}_station"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name=f"fk_{table}_model_version"),
    )


def downgrade() -> None:
    op.execute(f"DROP VIEW {VIEW}")
    for table in reversed(TABLES):
        op.drop_table(table)
