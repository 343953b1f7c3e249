"""What tables a database has: whether they are ours, and as they should be."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, inspect

from batch.address import Address
from batch.errors import StoreError
from batch.store import revisions
from batch.store.revisions import REVISION
from batch.store.schema import metadata, requests


def require(connection: Connection, address: Address) -> None:
    """StoreError unless a server's database has this very schema."""
    revision = revisions.of(connection)
    # Other programs number their revisions too.
    if revision == REVISION and inspect(connection).has_table(requests.name):
        return
    refuse_strangers(connection, address)
    upgrade = f"`quotabatch db upgrade --db {address}`"
    if revision is None:
        raise StoreError(f"{address} has no schema of quotabatch's: {upgrade} makes it")
    revisions.refuse_newer(revision, address)
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


def differences(connection: Connection) -> list[str]:
    """What of our tables is not as it should be, a sentence each."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name in metadata.tables

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "include_name": is_ours}
    )
    found: list[str] = []
    for one in compare_metadata(context, metadata):
        # Changes of one column come in a list.
        found += [_sentence(change) for change in (one if type(one) is list else [one])]
    return found


def _sentence(change: tuple[Any, ...]) -> str:
    """A change that would have to be made, as what is wrong."""
    action, *what = change
    if action == "add_table":
        return f"the table {what[0].name} is missing"
    if action in ("add_column", "remove_column"):
        state = "missing" if action == "add_column" else "none of ours"
        return f"the column {what[1]}.{what[2].name} is {state}"
    if action.startswith("modify_"):
        return f"the column {what[1]}.{what[2]} is of another kind"
    state = "missing" if action.startswith("add_") else "none of ours"
    kind = action.partition("_")[2]
    of = f" of {what[0].table.name}" if what[0].table is not None else ""
    return f"the {kind} {what[0].name}{of} is {state}"
