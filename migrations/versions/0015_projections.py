"""With each prediction a few projections of the frame's embedding: drift sees parts that look otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("projections", sa.ARRAY(sa.REAL())))


def downgrade() -> None:
    op.drop_column("predictions", "projections")
