"""A stand-in that tells more than answers: its clock, its count, its balance; and a
machine whose wall clock can be set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import world as worlds
from aiohttp import web
from clockwork import ManualClock
from world import World, _let_time_stand_still, a_world

from batch.service.context import Service
from batch.standin.service import Standin

DAY = timedelta(days=1)


class SetClock(ManualClock):
    """Its wall clock may be set; the time since the machine's start goes on."""

    off = timedelta(0)
    name = "boot-0"
    #: When the machine was started, by the seconds of the story.
    up_since = -1000.0

    def boot(self) -> float:
        return self.monotonic() - self.up_since

    def now(self) -> datetime:
        return self.time + self.off

    def boot_id(self) -> str:
        return self.name


class TrueTime:
    """The time that it is, whatever the wall clock says: the service goes by it."""

    def __init__(self, clock: ManualClock, off: timedelta = timedelta(0)) -> None:
        self._clock = clock
        self.off = off

    def now(self) -> datetime:
        return self._clock.time + self.off

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        with self._clock.idle():
            await self._clock.sleep(seconds)


class Telling(Standin):
    """A stand-in with a Date of its own, more headers, and a page for its balance."""

    #: What its Date header says; None: it has none.
    says: Callable[[], datetime] | None = None
    #: More headers of its answers, as they stand when one is begun.
    more: Callable[[], dict[str, str]] = dict
    #: What is asked for its balance, and what it answers.
    balance: Callable[[], Any] = dict
    #: The keys that asked for it.
    asked: list[str]

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        self.asked = []
        application = web.Application

        def made(**settings: Any) -> web.Application:
            app = application(**settings)
            app.on_response_prepare.append(self._sign)
            app.router.add_get("/v1/balance", self._balance)
            return app

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(web, "Application", made)
            return await super().start(port, host)

    async def _sign(self, _: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers.update(self.more())
        response.headers.pop("Date", None)
        if self.says is not None:
            date = self.says().astimezone(UTC).replace(microsecond=0)
            response.headers["Date"] = format_datetime(date, usegmt=True)

    async def _date(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> None:
        """Tell no time but its own: the stand-in has a Date of its day."""
        await self._sign(request, response)

    async def _balance(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Authorization", ""))
        found = self.balance()
        if isinstance(found, web.StreamResponse):
            return found
        return web.json_response(found)


@asynccontextmanager
async def a_telling_world(home: Path, **how: Any) -> AsyncIterator[World]:
    """A world whose service goes by the true time and says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "ManualClock", how.pop("clock", SetClock))
        async with a_world(home, kind=Telling, **how) as world:
            true = TrueTime(world.clock)
            world.standin.clock = true
            world.standin.says = true.now
            yield world


def another_process(world: World) -> None:
    """The command is run anew, on the same machine."""
    old = world.service
    old.database.close()
    world.service = Service(old.settings, world.clock, old.random)
    _let_time_stand_still(world.service.database, world.clock)


def the_machine_starts_anew(world: World) -> None:
    """And so is the command."""
    world.clock.name += "'"
    another_process(world)
