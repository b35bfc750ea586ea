"""The reviews of one station, the newest first, without walking through those of all the others."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_reviews_station_id", "reviews", ["station", "id"])


def downgrade() -> None:
    op.drop_index("ix_reviews_station_id", table_name="reviews")
