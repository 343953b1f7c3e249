"""The schema's revision: which one a database has, and bringing it to this code's."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from batch.address import Address
from batch.errors import StoreError
from batch.places import carried
from batch.store.schema import REVISION, metadata


def of(connection: Connection) -> str | None:
    """The revision of a database's schema, None where it has none of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version"))
    return found.scalar()


def refuse_newer(revision: str, address: Address) -> None:
    """StoreError where a newer version of quotabatch has written it."""
    if not revision.isdigit() or int(revision) > int(REVISION):
        raise StoreError(
            f"{address} was written by a newer quotabatch (its schema is {revision}, "
            f"this one knows {REVISION}): upgrade quotabatch"
        )


def require(connection: Connection, address: Address) -> None:
    """StoreError unless a server's database has this very schema."""
    revision = of(connection)
    if revision == REVISION:
        return
    upgrade = f"`quotabatch db upgrade --db {address}`"
    if revision is None:
        raise StoreError(f"{address} has no schema of quotabatch's: {upgrade} makes it")
    refuse_newer(revision, address)
    raise StoreError(
        f"{address} has the schema of an older quotabatch ({revision}, this one needs "
        f"{REVISION}): stop its runs, then {upgrade}"
    )


def refuse_strangers(connection: Connection, address: Address) -> None:
    """StoreError where tables of another program stand where ours would."""
    there = set(inspect(connection).get_table_names())
    ours = {table.name for table in metadata.sorted_tables}
    if "alembic_version" in there and not ours & there:
        raise StoreError(
            f"{address} is the database of another program; name another with --db"
        )
    taken = ours & there
    if "alembic_version" not in there and taken:
        raise StoreError(
            f"{address} holds tables of another program ({', '.join(sorted(taken))}): "
            "create a database for quotabatch alone"
        )


def migrate(connection: Connection) -> None:
    """Bring the schema to this code's revision, in a transaction of its own."""
    # Alembic takes a tenth of a second to import, and is needed once in a while.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(carried("migrations")).replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, "head")
