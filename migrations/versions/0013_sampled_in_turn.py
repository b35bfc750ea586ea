"""Sampled reviews come in turn, whatever they scored: their margin is drawn at random; an index finds the oldest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

IN_TURN = """
    UPDATE reviews r SET margin = random() * coalesce(
        (SELECT nullif(max(p.ng_threshold - p.ok_threshold), 0) FROM predictions p
         WHERE p.inspection_id = r.inspection_id), 1)
    WHERE r.reason = 'sampled' AND r.state = 'open'
"""


def upgrade() -> None:
    sampled = sa.text("state = 'open' AND reason = 'sampled'")
    op.create_index("ix_reviews_open_sampled", "reviews", ["opened_at"], postgresql_where=sampled)
    op.execute(IN_TURN)


def downgrade() -> None:
    op.drop_index("ix_reviews_open_sampled", table_name="reviews")
