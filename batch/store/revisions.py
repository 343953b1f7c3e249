"""The schema's revision: which one a database has, and bringing it to this code's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.address import Address
from batch.errors import StoreError
from batch.places import carried
from batch.store import sql
from batch.store.sql import AnyConnection

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The revision that this code reads and writes.
REVISION = "0017"


def of(connection: AnyConnection) -> str | None:
    """The revision of a database's schema, None where it has none of ours."""
    if not sql.has_table(connection, "alembic_version"):
        return None
    found: str | None = sql.scalar(
        connection, "SELECT version_num FROM alembic_version"
    )
    return found


def refuse_newer(revision: str, address: Address) -> None:
    """StoreError where a newer version of quotabatch has written it."""
    if not revision.isdigit() or int(revision) > int(REVISION):
        raise StoreError(
            f"{address} was written by a newer quotabatch (its schema is {revision}, "
            f"this one knows {REVISION}): upgrade quotabatch"
        )


def migrate(connection: Connection) -> None:
    """Bring the schema to this code's revision, in a transaction of its own."""
    with connection.begin():
        carry_out(connection)


def carry_out(connection: Connection) -> None:
    """Bring the schema to this code's revision."""
    # Alembic takes a tenth of a second to import, and is needed once in a while.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(carried("migrations")).replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
