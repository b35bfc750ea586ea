"""Runs the migrations on the connection that storage.database hands over."""

from __future__ import annotations

from alembic import context

from storage.label_models import Label

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Label.metadata,
    compare_type=True,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
