"""The line: stations, recipes, models, inspections with frames, predictions, verdicts, reviews; audit views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
APPEND_ONLY = ("verdicts", "predictions", "frames", "inspections", "deployments", "model_versions", "recipes")


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=16, name=name)


def upgrade() -> None:
    create_plan_tables()
    create_inspection_tables()
    create_views()
    forbid_changes()


def create_plan_tables() -> None:
    """What the line is made of: runs, stations, recipes, models and their deployments."""
    op.create_table(
        "line_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("settings", JSONB(), nullable=False),
        sa.Column("started_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_line_runs"),
    )
    op.create_table(
        "stations",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stations"),
    )
    op.create_table(
        "recipes",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("configuration", JSONB(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recipes"),
        sa.UniqueConstraint("name", "version", name="uq_recipes_name_version"),
        sa.UniqueConstraint("name", "sha256", name="uq_recipes_name_sha256"),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("detector", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("configuration", JSONB(), nullable=False),
        sa.Column("ok_threshold", sa.Float(), nullable=False),
        sa.Column("ng_threshold", sa.Float(), nullable=False),
        sa.Column("metrics", JSONB(), nullable=False),
        sa.Column("parent", sa.String()),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.ForeignKeyConstraint(["parent"], ["model_versions.id"], name="fk_model_versions_parent"),
        sa.UniqueConstraint("sha256", name="uq_model_versions_sha256"),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("deployed_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("deployed_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_deployments_model_version"),
    )
    op.create_index("ix_deployments_recipe_alias_id", "deployments", ["recipe", "alias", "id"])


def create_inspection_tables() -> None:
    """What happened to each part."""
    op.create_table(
        "inspections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("station", sa.String(), nullable=False),
        sa.Column("recipe_id", sa.BigInteger(), nullable=False),
        sa.Column("part_id", sa.String()),
        sa.Column("product", sa.String()),
        sa.Column("lot", sa.String()),
        sa.Column("trigger_source", one_of("triggersource", "interval", "software", "file"), nullable=False),
        sa.Column("trigger_number", sa.BigInteger(), nullable=False),
        sa.Column("triggered_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inspections"),
        sa.ForeignKeyConstraint(["run_id"], ["line_runs.id"], name="fk_inspections_run_id"),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name="fk_inspections_station"),
        sa.ForeignKeyConstraint(["recipe_id"], ["recipes.id"], name="fk_inspections_recipe_id"),
    )
    op.create_index("ix_inspections_station_trigger_number", "inspections", ["station", "trigger_number"])
    op.create_index("ix_inspections_run_id", "inspections", ["run_id"])
    op.create_index("ix_inspections_part_id", "inspections", ["part_id"])
    op.create_index("ix_inspections_lot", "inspections", ["lot"])
    op.create_index("ix_inspections_recorded_at", "inspections", ["recorded_at"])
    op.create_table(
        "frames",
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("channels", sa.BigInteger(), nullable=False),
        sa.Column("bit_depth", sa.BigInteger(), nullable=False),
        sa.Column("frame_number", sa.BigInteger(), nullable=False),
        sa.Column("hardware_timestamp_ns", sa.BigInteger()),
        sa.Column("exposure_microseconds", sa.Float()),
        sa.Column("captured_at", TIME, nullable=False),
        sa.Column("source", sa.String()),
        sa.PrimaryKeyConstraint("inspection_id", "camera", name="pk_frames"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name="fk_frames_inspection_id"),
    )
    op.create_index("ix_frames_sha256", "frames", ["sha256"])
    op.create_index("ix_frames_md5", "frames", ["md5"])
    op.create_table(
        "predictions",
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("anomaly_score", sa.Float(), nullable=False),
        sa.Column("raw_score", sa.Float(), nullable=False),
        sa.Column("ok_threshold", sa.Float(), nullable=False),
        sa.Column("ng_threshold", sa.Float(), nullable=False),
        sa.Column("probabilities", JSONB(), nullable=False),
        sa.Column("map_sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("inspection_id", "camera", "model_version", name="pk_predictions"),
        sa.ForeignKeyConstraint(
            ["inspection_id", "camera"],
            ["frames.inspection_id", "frames.camera"],
            name="fk_predictions_inspection_id_camera",
        ),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_predictions_model_version"),
        sa.CheckConstraint("anomaly_score BETWEEN 0 AND 1", name="ck_predictions_anomaly_score"),
    )
    op.create_index("ix_predictions_model_version", "predictions", ["model_version"])
    op.create_table(
        "verdicts",
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("verdict", one_of("verdict", "OK", "NG", "REVIEW", "ERROR"), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("anomaly_score", sa.Float()),
        sa.Column("model_version", sa.String()),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("stage_milliseconds", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("inspection_id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name="fk_verdicts_inspection_id"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_verdicts_model_version"),
    )
    op.create_index("ix_verdicts_recorded_at", "verdicts", ["recorded_at"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("reason", one_of("reviewreason", "uncertain", "sampled", "manual"), nullable=False),
        sa.Column("state", one_of("reviewstate", "open", "resolved"), nullable=False),
        sa.Column("opened_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name="fk_reviews_inspection_id"),
        sa.UniqueConstraint("inspection_id", name="uq_reviews_inspection_id"),
    )
    op.create_index("ix_reviews_state_opened_at", "reviews", ["state", "opened_at"])


def create_views() -> None:
    """The audit contract: stable names, one row a view of a part, with everything that led to its verdict."""
    op.execute(
        """
        CREATE VIEW v_part_history AS
        SELECT i.part_id, i.lot, i.product, i.id AS inspection_id, i.station, r.line, r.code_version,
               i.trigger_source, i.trigger_number, i.triggered_at,
               c.name AS recipe, c.version AS recipe_version, c.sha256 AS recipe_sha256,
               f.camera, f.captured_at, f.sha256, f.md5, f.media_type, f.width, f.height, f.source,
               p.model_version, m.sha256 AS model_sha256, p.anomaly_score, p.raw_score, p.ok_threshold,
               p.ng_threshold, p.map_sha256,
               v.verdict, v.reason, v.decided_at, v.recorded_at, v.stage_milliseconds,
               w.reason AS review_reason, w.state AS review_state
        FROM inspections i
        JOIN line_runs r ON r.id = i.run_id
        JOIN recipes c ON c.id = i.recipe_id
        LEFT JOIN frames f ON f.inspection_id = i.id
        LEFT JOIN predictions p ON p.inspection_id = f.inspection_id AND p.camera = f.camera
        LEFT JOIN model_versions m ON m.id = p.model_version
        LEFT JOIN verdicts v ON v.inspection_id = i.id
        LEFT JOIN reviews w ON w.inspection_id = i.id
        """
    )
    op.execute(
        """
        CREATE VIEW v_defect_history AS
        SELECT * FROM v_part_history WHERE verdict IN ('NG', 'REVIEW', 'ERROR')
        """
    )
    op.execute(
        """
        CREATE VIEW v_model_deployments AS
        SELECT d.recipe, d.alias, d.model_version, m.sha256, d.deployed_at,
               lead(d.deployed_at) OVER (PARTITION BY d.recipe, d.alias ORDER BY d.id) AS replaced_at,
               d.deployed_by, d.reason
        FROM deployments d JOIN model_versions m ON m.id = d.model_version
        """
    )


def forbid_changes() -> None:
    """What happened cannot be made not to have happened: history takes inserts only."""
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    for view in ("v_model_deployments", "v_defect_history", "v_part_history"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "reviews",
        "verdicts",
        "predictions",
        "frames",
        "inspections",
        "deployments",
        "model_versions",
        "recipes",
        "stations",
        "line_runs",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
