"""How do migrations run? On the connection that `storage.schema` hands over, all in one transaction."""

from __future__ import annotations

from alembic import context

from gatekeeper.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
