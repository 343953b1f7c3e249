"""A process of the story: one `quotabatch run`, which may be killed at any moment."""

from __future__ import annotations

import asyncio
import os
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop import OWNER
from remote import Way
from served import SERVER
from writer import Gone, Writer

from batch.errors import QuotabatchError
from batch.presence import Presence
from batch.providers.profiles import Profile
from batch.runner.values import Options
from batch.service import runs, work
from batch.service.context import Service

if TYPE_CHECKING:
    from realm import Realm


class House(Service):
    """A service that knows the locks it holds."""

    #: The machine that its locks are on.
    host = ""

    @property
    def locks(self) -> Path:
        found = super().locks
        return found / self.host if self.host else found

    def new_lock(self, what: str) -> Presence:
        lock = super().new_lock(what)
        self.held.append(lock)
        return lock

    @property
    def held(self) -> list[Presence]:
        found: list[Presence] = self.__dict__.setdefault("_held", [])
        return found


class Mortal:
    """Lives until its run has ended, or it is killed."""

    def __init__(self, realm: Realm, name: str, **options: Any) -> None:
        self.name = name
        self.is_dead = False
        self.is_ended = False
        #: What can be known to have gone wrong with it from outside.
        self.signals = 0
        self.faults = 0
        #: True if it stood still, for which others may have taken it for dead.
        self.was_frozen = False
        self.outcome: runs.Outcome | None = None
        self.error: QuotabatchError | None = None
        self.notes: list[str] = []
        self._realm = realm
        self._keep = realm.plot.keep
        self.options = Options(**options)
        self._run = runs.Run()
        self._service: House | None = None
        context = copy_context()
        context.run(OWNER.set, self)
        self._task = realm.loop.create_task(self._live(), context=context)

    @property
    def is_over(self) -> bool:
        return self.is_dead or self.is_ended

    @property
    def is_sound(self) -> bool:
        """Whether nothing has happened to it for which a call might be in doubt."""
        stood_still = self.was_frozen and self._realm.plot.database == SERVER
        disturbed = self.signals >= 2 or self.faults or stood_still
        return not self.is_dead and not disturbed

    @property
    def locks(self) -> frozenset[str]:
        """The names under which its runners are known."""
        assert self._service is not None
        return frozenset(lock.name for lock in self._service.held)

    def tell(self, what: str) -> None:
        self._realm.tell(f"{self.name} {what}")

    def meets(self, point: str) -> bool:
        """Whether it dies here."""
        if not self.is_over:
            self._realm.on_point(point)
        if not self.is_over and self._realm.peril.strikes(point):
            self.kill(point)
        return self.is_dead

    def check_pace(self, transactions: int) -> None:
        self._realm.check_pace(transactions)

    def kill(self, where: str = "") -> None:
        """As `kill -9` does: no transaction, no call, no farewell; the locks let go."""
        if self.is_over:
            return
        self.is_dead = True
        self.tell(f"is killed {where}".rstrip())
        for lock in self._service.held if self._service else ():
            if lock._file is not None:
                os.close(lock._file)
                lock._file = None
        # Nothing of it is carried out any more but its own unwinding.
        self._task.cancel()
        self._realm.loop.thaw(self)
        self._realm.on_over(self)

    def signal(self, exit_code: int) -> None:
        if self.is_over:
            return
        self.signals += 1
        self.tell(f"gets signal {self.signals}")
        self._run.interrupt(exit_code)

    async def _live(self) -> None:
        try:
            self.tell("begins")
            with self._realm.a_service(
                self._writer, self._connect, self.name
            ) as service:
                self._service = service
                await self._work(service)
        except (asyncio.CancelledError, Gone, Exception) as error:
            if not self.is_dead:
                self._realm.loop.fail(error)
        finally:
            if not self.is_dead:
                self.is_ended = True
                self._realm.on_over(self)

    async def _work(self, service: House) -> None:
        chosen = work.chosen_jobs(service, [])
        if not chosen:
            self.tell("finds nothing to do")
            return
        try:
            self.outcome = await work.run(
                service,
                chosen,
                self.options,
                keep=self._keep,
                handle=self._run,
                notify=self._note,
                narrowed=False,
            )
            self.tell(f"ends with {self.outcome.exit_code}")
        except QuotabatchError as error:
            # Only a disk that fails is a reason.
            if self.is_dead or not self.faults:
                raise
            self.error = error
            self.tell(f"ends with an error: {error}")

    def _note(self, text: str) -> None:
        if not self.is_dead:
            self.notes.append(text)
            self.tell(f"says: {text}")

    def _writer(self) -> Writer:
        return Writer(self, self._realm.disk)

    def _connect(self, profile: Profile, *_: object) -> Way:
        remote = self._realm.remotes[profile.name]
        return Way(remote, self._realm.machine, self)
