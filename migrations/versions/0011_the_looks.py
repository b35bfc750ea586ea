"""Embeddings as plain bytes, for a Postgres without pgvector; an index for who agreed with whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "looks",
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("inspection_id", name="pk_looks"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name="fk_looks_inspection_id"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_looks_model_version"),
    )
    op.create_index("ix_labels_second", "labels", ["review_id", "round"], postgresql_where=sa.text("opinion = 2"))


def downgrade() -> None:
    op.drop_index("ix_labels_second", "labels")
    op.drop_table("looks")
