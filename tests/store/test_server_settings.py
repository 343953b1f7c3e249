"""Settings of a server and a role that our databases do not depend on, or refuse."""

from __future__ import annotations

from contextlib import closing

import pytest
from pgserver import Cluster
from scene import Scene, answered, daily

from batch.errors import StoreError
from batch.store import upgrading
from batch.store.engine import Database


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(server: Cluster, encoding):
    name = f"in_{encoding.lower()}"
    server.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
        "LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    place = server.server(name, server.folder)
    for use in (
        lambda: upgrading.upgrade(place, lambda lock: None),
        lambda: Database.open(place),
    ):
        with pytest.raises(StoreError) as error:
            use()
        assert f"is encoded in {encoding}" in str(error.value)
        assert "ENCODING 'UTF8'" in str(error.value)
    assert (
        server.execute("SELECT 1 FROM pg_tables WHERE tablename = 'jobs'", name) == []
    )


def test_how_a_server_writes_dates_and_texts_does_not_matter(
    server: Cluster, tables: str
):
    name = server.create(tables)
    for setting in ("datestyle = 'SQL, DMY'", "client_encoding = 'LATIN1'"):
        server.execute(f"ALTER DATABASE {name} SET {setting}")
    with closing(Database.open(server.server(name, server.folder))) as database:
        with database.transaction() as connection:
            scene = Scene(connection, daily())
            scene.job(1)
            (one,) = scene.claimed()
            scene.settle(answered(one, "铁"))
        with database.reading() as connection:
            assert (
                connection.exec_driver_sql("SELECT text FROM results").scalar() == "铁"
            )
