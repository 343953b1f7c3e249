"""A cluster without machines: runners that play what a test has written for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clockwork import ManualClock
from sqlalchemy import update

from batch import config
from batch.cluster import crew, fleet
from batch.cluster.actor import machine
from batch.cluster.seats import DiedError
from batch.cluster.values import Facts, Glance, Look, Order, Report, Word
from batch.core.model import Failure
from batch.core.template import Template
from batch.runner.values import Ending, Options
from batch.service import runs, submission, work
from batch.service.context import Service
from batch.service.order import Order as Wanted
from batch.store.schema import requests

DONE = Ending(exit_code=0)
SHARE = Ending(exit_code=75, message="Stopped at --max-calls")
REFUSED = Ending(exit_code=77, message="espai refused the key")


def told(**facts: Any) -> Glance:
    """What a runner shows of itself."""
    return Glance(provider="espai", **facts)


def failed(row: int, *, sent: bool = True, **facts: Any) -> Glance:
    failure = Failure(code="http_503", message="HTTP 503", sent=sent)
    return told(row=row, failure=failure, **facts)


class Player:
    """A runner that shows one scene a look, and ends with the last.

    A scene is a Glance, or an error that it dies of. It stays at its last scene until
    it is told to end, unless that has an ending. With `finishes` nothing is left to
    ask when it has ended.
    """

    def __init__(self, company: Company, scenes: list[Any], **says: Any) -> None:
        self._company = company
        #: The how manieth of the cluster's runners it is.
        self.number = len(company.players) + 1
        self._scenes = scenes
        self._says = says
        self._shown: Glance | None = None
        self._ended: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self.order: Order | None = None
        self.words: list[Word] = []
        self.is_let_go = False

    async def facts(self) -> Facts:
        if self._says.get("never"):
            await asyncio.Event().wait()
        if self._says.get("stillborn"):
            raise DiedError("its process is gone")
        known = {
            "machine": machine(),
            "pid": self.number,
            "version": version("quotabatch"),
        }
        return Facts(**{**known, **self._says.get("facts", {})})

    async def work(self, order: Order) -> Report:
        self.order = order
        self._company.events.append(f"{self.number} begins")
        return await self._ended

    async def look(self, word: Word) -> Look:
        self.words.append(word)
        scene = self._scenes.pop(0) if self._scenes else self._shown
        if isinstance(scene, Exception):
            self._company.on_death(self)
            raise scene
        assert scene is not None
        ending = word.endings.get("espai") if self._says.get("obeys", True) else None
        if ending is not None and scene.ending is None:
            scene = told(calls=scene.calls, completed=scene.completed, ending=ending)
        self._shown = scene
        self._company.events.append(f"{self.number} has {scene.completed}")
        if scene.ending is not None and not self._ended.done():
            if self._says.get("finishes"):
                self._company.finish()
            trouble = self._says.get("trouble")
            self._ended.set_result(Report(look=self._look(0), trouble=trouble))
        return self._look(word.heard)

    def _look(self, heard: int) -> Look:
        notices = tuple(self._says.get("notices", ())[heard:])
        return Look(glances=(self._shown,) if self._shown else (), notices=notices)

    def let_go(self) -> None:
        self.is_let_go = True


class Company:
    """The cluster: it hands out players in the order in which they were written."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.written: list[tuple[list[Any], dict[str, Any]]] = []
        self.players: list[Player] = []
        #: What happened, in its order.
        self.events: list[str] = []
        self.notes: list[str] = []
        self.handle = fleet.Fleet()
        self.is_full = False
        self.on_death: Callable[[Player], object] = lambda player: None

    def write(self, *scenes: Any, **says: Any) -> None:
        """The next runner's part."""
        self.written.append((list(scenes), says))

    def finish(self) -> None:
        """Complete every request of the queue."""
        with self.service.database.transaction() as connection:
            connection.execute(update(requests).values(state="completed"))

    # What a crew asks of a cluster.

    def hand(self) -> Player:
        scenes, says = (
            self.written.pop(0) if self.written else ([told(ending=DONE)], {})
        )
        player = Player(self, scenes, **says)
        self.players.append(player)
        return player

    def places(self) -> int:
        return 1 if self.is_full else 1000

    def room(self) -> str:
        return "each takes a CPU, and of the cluster's 2 none is free"

    @property
    def orders(self) -> list[Order]:
        """Of those that worked."""
        return [one.order for one in self.players if one.order is not None]

    async def run(self, number: int, **options: Any) -> runs.Outcome:
        chosen = work.chosen_jobs(self.service, [])
        return await crew.run(
            self.service,
            chosen,
            Options(**options),
            cluster=self,
            number=number,
            handle=self.handle,
            notify=self.notes.append,
        )


def submit(service: Service, home: Path, prompts: Iterable[str]) -> None:
    """Submit one more job of these prompts."""
    rows = home.with_name("rows.txt")
    rows.write_text("".join(f"{one}\n" for one in prompts))
    wanted = Wanted(
        sources=(str(rows),),
        template=Template(),
        provider="espai",
        model="qwen2.5:7b",
        name="job",
    )
    submission.submit(service, wanted)


@asynccontextmanager
async def a_company(
    home: Path, prompts: Iterable[str] = "abc", **variables: str
) -> AsyncIterator[Company]:
    """A cluster, and a home with a job that waits."""
    key = {"ESPAI_API_KEY": "sk-canary-0123456789"}
    settings = config.load({"QUOTABATCH_HOME": str(home), **key, **variables})
    with Service(settings, ManualClock()) as service:
        submit(service, home, prompts)
        yield Company(service)
