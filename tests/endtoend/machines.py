"""Several machines at one PostgreSQL server, whose clock the test owns.

Each machine has a home of its own, so that no lock file of another's tells who lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pgserver import Cluster
from stage import KEY, Served, Stage, Warm, staged
from truth import prompt_of

from batch.store import postgres, revisions

#: In front of the server's own clock, moved by what the table says.
CLOCK = (
    "CREATE SCHEMA clock",
    "CREATE TABLE clock.moved (seconds float8)",
    "INSERT INTO clock.moved VALUES (0)",
    "CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE "
    "AS $$ SELECT pg_catalog.clock_timestamp() + seconds * interval '1 second' "
    "FROM clock.moved $$",
)


def template(cluster: Cluster) -> str:
    """The name of a database with our tables, to make copies of."""
    name = cluster.create()
    engine = postgres.engine(cluster.server(name, cluster.folder))
    with engine.connect() as connection:
        revisions.migrate(connection)
    engine.dispose()
    for statement in CLOCK:
        cluster.execute(statement, name)
    return name


@dataclass
class Machines:
    """All machines, and the database that they share."""

    cluster: Cluster
    database: str
    folder: Path
    warm: Warm
    _stack: ExitStack = field(default_factory=ExitStack)
    _made: list[Stage] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.cluster.url(self.database)

    def machine(self, served: Served | None = None) -> Stage:
        """One more; `served`: the endpoint that it asks, under the same limits."""
        folder = self.folder / f"machine-{len(self._made)}"
        folder.mkdir()
        stage = self._stack.enter_context(staged(folder, self.warm))
        stage.env["QUOTABATCH_DB"] = self.url
        if served is not None:
            stage.configure(served.standin.limit or 1_000_000)
            stage.env["QUOTABATCH_BASE_URL"] = served.url
        self._made.append(stage)
        return stage

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read past the product."""
        return self.cluster.execute(query, self.database)

    def pass_time(self, stretch: timedelta) -> None:
        """So much later, by the server's clock."""
        self.rows(
            f"UPDATE clock.moved SET seconds = seconds + {stretch.total_seconds()}"
        )

    def cut_all(self) -> None:
        """End every connection of the product's."""
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'quotabatch'"
        )

    def holds(self, served: Served) -> None:
        """The laws of every fault, from outside."""
        limit = served.standin.limit
        today = served.standin.calls_today()
        assert limit is None or today <= limit
        spent = self.rows(
            "SELECT coalesce(sum(credits), 0) FROM entries "
            "WHERE state IN ('reserved', 'spent')"
        )
        unknown = self.rows(
            "SELECT count(*) FROM entries LEFT JOIN errors ON entry_id = id "
            "WHERE state = 'reserved' OR verdict = 'in_doubt'"
        )
        assert served.count <= spent[0][0] <= served.count + unknown[0][0]
        asked = served.prompts
        for messages, row, state, attempts, text in self.rows(
            "SELECT messages, input, state, attempts, text FROM requests "
            "LEFT JOIN results ON request_id = requests.id"
        ):
            prompt = prompt_of(messages, row)
            right = served.answer_to(prompt)
            assert (text == right) == (state == "completed")
            assert asked.count(prompt) <= attempts
        for table in ("jobs", "requests", "results", "entries", "errors", "accounts"):
            (found,) = self.rows(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{KEY}%'"
            )
            assert found == (0,)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def machines(cluster: Cluster, of: str, folder: Path, warm: Warm) -> Iterator[Machines]:
    """A copy of this database for machines that are to come."""
    made = Machines(cluster, cluster.create(of), folder, warm)
    cluster.execute(
        f"ALTER DATABASE {made.database} SET search_path = clock, pg_catalog, public"
    )
    try:
        yield made
    finally:
        made.close()
