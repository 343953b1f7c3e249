"""A whole run for tests: a stand-in service, a database, a clock; all of it real but
for the clock. What is asserted comes from outside: the service's own list of calls, the
entries in the database file, the export.
"""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import blank
import pytest
from clockwork import NOON, ManualClock, ServerClock
from served import FILE, SERVER, serve

from batch import config
from batch.core.expected import Expected
from batch.core.model import Claim, Job, Reply
from batch.core.statements import Statement
from batch.core.template import Template
from batch.providers import endpoints
from batch.providers.base import Endpoint, OnText
from batch.runner import runner
from batch.runner.values import Options
from batch.service import exporting, runs, soundness, submission, work
from batch.service.context import Service
from batch.service.findings import State
from batch.service.order import Order
from batch.standin.service import Call, Standin
from batch.store.engine import Database

KEY = "sk-canary-0123456789abcdef"
MODEL = "qwen2.5:7b"
#: The kind of database that worlds are made with; the fixture `database` plays both.
DATABASE = FILE


class Watched:
    """An endpoint that tells the clock, and whoever looks, when a call is under way."""

    def __init__(self, endpoint: Endpoint, world: World) -> None:
        self._endpoint = endpoint
        self._world = world

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        world = self._world
        world.begun += 1
        await _fault(world.faults.get(world.begun))
        world.in_flight += 1
        world.most_in_flight = max(world.most_in_flight, world.in_flight)
        try:
            with world.clock.busy():
                return await self._endpoint.call(claim, on_text)
        finally:
            world.in_flight -= 1

    async def time(self) -> datetime | None:
        with self._world.clock.busy():
            return await self._endpoint.time()

    async def reach(self) -> datetime | None:
        return await self._endpoint.reach()

    async def balance(self, now: datetime) -> Statement | None:
        with self._world.clock.busy():
            return await self._endpoint.balance(now)

    async def close(self) -> None:
        await self._endpoint.close()


async def _fault(fault: Exception | asyncio.Event | None) -> None:
    """A bug in the endpoint, at once or when an event says so."""
    if isinstance(fault, asyncio.Event):
        await fault.wait()
        raise RuntimeError("bug")
    if fault is not None:
        raise fault


class World:
    """One user's home, and the service that is called from it."""

    def __init__(self, service: Service, clock: ManualClock, standin: Standin) -> None:
        self.service = service
        self.clock = clock
        self.standin = standin
        self.handle = runs.Run()
        self.notes: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        #: Calls that this side began, and by their number the bugs that they meet.
        self.begun = 0
        self.faults: dict[int, Exception | asyncio.Event] = {}
        #: Called with the number of every call as it arrives, before it is answered.
        self.on_call: dict[int, Callable[[], object]] = {}
        #: The answer to the request of this name.
        self.answer_to: Callable[[str], str] = f"[{MODEL}] 答：{{}}".format

    @property
    def home(self) -> Path:
        return self.service.settings.home.data

    def submit(
        self,
        prompts: int | Iterable[str],
        *,
        name: str = "job",
        priority: int = 0,
        max_attempts: int = 3,
        provider: str = "espai",
        expected: Expected | None = None,
    ) -> Job:
        """Queue a job of these prompts, or of "p1" to so many."""
        if isinstance(prompts, int):
            prompts = [f"p{number}" for number in range(1, prompts + 1)]
        return self.queue(
            [{"custom_id": one, "prompt": one} for one in prompts],
            name=name,
            priority=priority,
            max_attempts=max_attempts,
            provider=provider,
            expected=expected,
        )

    def queue(self, rows: Iterable[Mapping[str, str]], **order: Any) -> Job:
        """Queue a job of these rows."""
        lines = [json.dumps(row) for row in rows]
        wanted = Order(
            sources=("-",),
            template=Template(),
            model=MODEL,
            **order,
        )
        stdin = io.BytesIO("\n".join(lines).encode())
        receipt = submission.submit(self.service, wanted, stdin=stdin)
        return self.service.job(str(receipt.job_id))

    async def run(
        self,
        *jobs: Job,
        keep: int = 0,
        narrowed: bool = True,
        show_text: bool = False,
        **options: Any,
    ) -> runs.Outcome:
        """Run these jobs, else all that have work to do."""
        self.handle = runs.Run()
        return await work.run(
            self.service,
            work.chosen_jobs(self.service, [str(job.id) for job in jobs]),
            Options(**options),
            keep=keep,
            handle=self.handle,
            notify=self.notes.append,
            narrowed=narrowed,
            show_text=show_text,
        )

    # Seen from outside.

    @property
    def calls(self) -> list[Call]:
        return self.standin.calls

    @property
    def asked(self) -> list[str]:
        """The prompts as the service received them."""
        return [call.prompt for call in self.calls]

    @property
    def times(self) -> list[float]:
        """Seconds from the first call to each."""
        return [(call.at - self.calls[0].at).total_seconds() for call in self.calls]

    def by_day(self) -> Counter[str]:
        """Calls that the service counted against its limit, by its own day."""
        return Counter(call.day for call in self.calls if call.outcome != "refused")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.service.settings.database)) as connection:
            return connection.execute(sql).fetchall()

    def entries(self) -> dict[str, int]:
        """The ledger's entries by their state."""
        return dict(self.query("SELECT state, count(*) FROM entries GROUP BY state"))

    def used(self) -> dict[str, int]:
        """Credits used, by the day on which the window starts."""
        rows = self.query("SELECT starts_at, used FROM windows ORDER BY starts_at")
        return {
            datetime.fromtimestamp(at / 1000, UTC).date().isoformat(): used
            for at, used in rows
        }

    def errors(self) -> dict[str, int]:
        """Failed attempts by their code."""
        return dict(self.query("SELECT code, count(*) FROM errors GROUP BY code"))

    def export(self, job: Job | None = None) -> list[dict[str, Any]]:
        stdout = io.BytesIO()
        wanted = str(job.id if job else 1)
        exporting.export(self.service, wanted, to=None, stdout=lambda: stdout)
        return [json.loads(line) for line in stdout.getvalue().splitlines()]

    def statuses(self, job: Job | None = None) -> dict[str, int]:
        return dict(Counter(line["status"] for line in self.export(job)))

    def check(self) -> None:
        """What holds after every run, whatever happened in it."""
        for (job_id,) in self.query("SELECT id FROM jobs"):
            for line in self.export(self.service.job(str(job_id))):
                self._check_line(line)
        entries = self.entries()
        assert "reserved" not in entries
        # A call that the ledger does not know would be one too many some day.
        assert entries.get("spent", 0) >= len(self.calls)
        # Each counter is its recount: no more and no less than its calls.
        books = [one for one in soundness.books(self.service) if one.check == "books"]
        assert [one.state for one in books] == [State.OK], books
        limit = self.standin.limit
        assert limit is None or max(self.by_day().values(), default=0) <= limit
        assert self.in_flight == 0
        for path in self.home.rglob("*"):
            if path.is_file():
                assert KEY.encode() not in path.read_bytes(), path

    def _check_line(self, line: Mapping[str, Any]) -> None:
        done = line["status"] == "completed"
        answer = self.answer_to(line["custom_id"]) if done else None
        assert line["completion"] == answer
        assert (line["error"] is not None) == (line["status"] == "failed")
        assert line["status"] != "running"
        assert line["attempts"] >= self.asked.count(line["custom_id"])


@asynccontextmanager
async def a_world(
    home: Path,
    *,
    limit: int = 200,
    start: datetime = NOON,
    ahead: timedelta = timedelta(0),
    base_url: str | None = None,
    config_toml: str | None = None,
    environ: Mapping[str, str] | None = None,
    nap: float = runner.NAP,
    database: str | None = None,
    kind: type[Standin] = Standin,
    **standin: Any,
) -> AsyncIterator[World]:
    """A home and a stand-in service that are cleared away at the end.

    `limit` is what the user has configured, and the service's own unless that is given;
    `ahead` is how far the service's clock runs before ours. `database`: a FILE with the
    machine's clock, or as on a SERVER, which has one of its own.
    """
    clock = ManualClock(start)
    server = kind(**{"limit": limit, "clock": ServerClock(clock, ahead), **standin})
    url = await server.start()
    # Calls that stall are not waited for at the end.
    assert server._runner is not None
    server._runner._shutdown_timeout = 0.01
    quota = f'{{ name = "daily", limit = {limit}, window = "day" }}'
    text = f"[profiles.espai]\nquotas = [{quota}]\n"
    _furnish(home, config_toml or text)
    variables = {
        "QUOTABATCH_HOME": str(home),
        "QUOTABATCH_BASE_URL": base_url or url,
        "QUOTABATCH_SILENCE_TIMEOUT": "0.15",
        # On a busy machine the event loop itself may take as long as a user allows.
        "QUOTABATCH_CONNECT_TIMEOUT": "60",
        "ESPAI_API_KEY": KEY,
        **(environ or {}),
    }
    settings = config.load(variables)
    if isinstance(settings.database, Path):
        blank.put(settings.database)
    service = Service(settings, clock, lambda: 0.5)
    world = World(service, clock, server)
    service.connect = lambda *way: Watched(endpoints.connect(*way), world)
    answer = server.answer

    def answered(body: Mapping[str, Any]) -> str:
        act = world.on_call.pop(len(server.calls), None)
        if act is not None:
            act()
        return answer(body)

    server.answer = answered
    with pytest.MonkeyPatch.context() as patch, service:
        patch.setattr(runner, "NAP", nap)
        if (database or DATABASE) == SERVER:
            serve(patch, clock, lambda: clock.time)
        _let_time_stand_still(service.database, clock)
        try:
            yield world
        finally:
            await server.stop()


def _furnish(home: Path, config_toml: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(config_toml, "utf-8")


def _let_time_stand_still(database: Database, clock: ManualClock) -> None:
    """No time passes while a transaction is under way either."""
    run = database.run

    async def watched(*args: Any, **kwargs: Any) -> Any:
        with clock.busy():
            return await run(*args, **kwargs)

    database.run = watched  # type: ignore[method-assign]
    ask = database.ask

    async def watched_too(*args: Any, **kwargs: Any) -> Any:
        with clock.busy():
            return await ask(*args, **kwargs)

    database.ask = watched_too  # type: ignore[method-assign]
