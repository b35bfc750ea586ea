"""Runs the migrations on the connection that storage.database hands over."""

from __future__ import annotations

from alembic import context

# Their rows are part of the metadata.
from storage import drift_models, label_models, people_rows, snapshot_models, training_models  # noqa: F401
from storage.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
