"""Thresholds that a person gives to a deployed model: who, when and why, for ever."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE, VIEW = "threshold_settings", "v_threshold_settings"
MEANING = "Which thresholds a person gave to a model version of a recipe, from when to when, and why."
COLUMNS = {
    VIEW: {
        "recipe": "Recipe the thresholds are for.",
        "model_version": "Model version whose scores they judge; another version has its own.",
        "ok_threshold": "Below this score a part is OK.",
        "ng_threshold": "From this score on a part is NG; between the two it goes to REVIEW.",
        "target_false_reject_rate": "The false-reject rate they were computed from; null when they were given.",
        "set_at": "From when.",
        "replaced_at": "Until when; null while they are the newest.",
        "set_by": "Who set them.",
        "reason": "Why.",
    }
}


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("ok_threshold", sa.Float(), nullable=False),
        sa.Column("ng_threshold", sa.Float(), nullable=False),
        sa.Column("target_false_reject_rate", sa.Float()),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_threshold_settings"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_threshold_settings_model_version"),
        sa.CheckConstraint(
            "0 <= ok_threshold AND ok_threshold <= ng_threshold AND ng_threshold <= 1",
            name="ck_threshold_settings_rising",
        ),
    )
    op.create_index("ix_threshold_settings_recipe_model_version_id", TABLE, ["recipe", "model_version", "id"])
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"""
        CREATE VIEW {VIEW} AS
        SELECT recipe, model_version, ok_threshold, ng_threshold, target_false_reject_rate, set_at,
               lead(set_at) OVER (PARTITION BY recipe, model_version ORDER BY id) AS replaced_at, set_by, reason
        FROM {TABLE}
        """
    )
    op.execute(f"COMMENT ON VIEW {VIEW} IS '{MEANING}'")
    for column, meaning in COLUMNS[VIEW].items():
        op.execute(f"COMMENT ON COLUMN {VIEW}.{column} IS '{meaning}'")


def downgrade() -> None:
    op.execute(f"DROP VIEW {VIEW}")
    op.drop_table(TABLE)
