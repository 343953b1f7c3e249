"""Alembic's entry: migrates the connection that it is given, in its transaction.

For `alembic revision --autogenerate` and `alembic check` in a checkout, say
`alembic -x db=FILE …`.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from batch.store.schema import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    path = context.get_x_argument(as_dictionary=True)["db"]
    with create_engine(f"sqlite:///{path}").begin() as connection:
        migrate(connection)
