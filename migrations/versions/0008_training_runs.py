"""Training runs: what was trained why, how far it got, and what the gate said of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE, VIEW = "training_runs", "v_training_runs"
TIME = sa.DateTime(timezone=True)
CAUSES = ("cron", "labels", "drift", "hand")
STATES = ("queued", "running", "done", "failed", "cancelled")
PHASES = ("snapshot", "features", "fit", "evaluate", "gate", "deploy")
MEANING = "Each training run: why, from which snapshot, to which candidate, and what the gate said."
COLUMNS = {
    VIEW: {
        "id": "The run.",
        "recipe": "Recipe whose model was retrained.",
        "cause": "cron, labels (enough new ones), drift or hand.",
        "requested_by": "Who asked for it; adline where it was the schedule.",
        "requested_at": "When it was asked for.",
        "started_at": "When its first attempt began.",
        "ended_at": "When it ended; null while it has not.",
        "state": "queued, running, done, failed or cancelled.",
        "phase": "The phase it is or was last in.",
        "attempts": "How often a process began or resumed it.",
        "seed": "What its random choices come from.",
        "champion": "Model version that it retrained.",
        "snapshot": "Dataset snapshot that it learned from.",
        "candidate": "Model version that came of it; null when none did.",
        "promoted": "Whether the gate let the candidate become the champion.",
        "sentence": "What the gate said.",
        "error": "Why it failed.",
        "cancel_asked_by": "Who cancelled it.",
    }
}


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("cause", one_of("cause", *CAUSES), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", one_of("runstate", *STATES), server_default="queued", nullable=False),
        sa.Column("phase", one_of("phase", *PHASES)),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("detail", sa.String(), server_default="", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        *(sa.Column(name, TIME) for name in ("heartbeat_at", "started_at", "ended_at", "cancel_asked_at")),
        sa.Column("cancel_asked_by", sa.String()),
        sa.Column("champion", sa.String()),
        sa.Column("snapshot", sa.String()),
        sa.Column("candidate", sa.String()),
        sa.Column("promoted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sentence", sa.String()),
        sa.Column("figures", sa.dialects.postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("report", sa.String()),
        sa.Column("error", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_training_runs"),
        *(
            sa.ForeignKeyConstraint([column], ["model_versions.id"], name=f"fk_training_runs_{column}")
            for column in ("champion", "candidate")
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name="ck_training_runs_progress"),
        sa.CheckConstraint("NOT promoted OR candidate IS NOT NULL", name="ck_training_runs_promoted"),
        sa.CheckConstraint("state <> 'failed' OR error IS NOT NULL", name="ck_training_runs_error"),
    )
    # Never two at once, and of each recipe one that waits.
    for state, column in (("running", "state"), ("queued", "recipe")):
        condition = sa.text(f"state = '{state}'")
        op.create_index(f"ix_training_runs_{state}", TABLE, [column], unique=True, postgresql_where=condition)
    op.create_index("ix_training_runs_recipe_requested_at", TABLE, ["recipe", "requested_at"])
    op.execute(
        f"CREATE TRIGGER ended_for_ever BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW "
        "WHEN (OLD.state IN ('done', 'failed', 'cancelled')) EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"""
        CREATE VIEW {VIEW} AS
        SELECT id, recipe, cause, requested_by, requested_at, started_at, ended_at, state, phase, attempt AS attempts,
               seed, champion, snapshot, candidate, promoted, sentence, error, cancel_asked_by
        FROM {TABLE}
        """
    )
    op.execute(f"COMMENT ON VIEW {VIEW} IS '{MEANING}'")
    for column, meaning in COLUMNS[VIEW].items():
        op.execute(f"COMMENT ON COLUMN {VIEW}.{column} IS '{meaning}'")


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=16, name=name)


def downgrade() -> None:
    op.execute(f"DROP VIEW {VIEW}")
    op.drop_table(TABLE)
