"""A run with many runners: place them, watch them, replace who dies, end them all.

The queue, the ledger and the promises are the database's; nothing here decides on a
call. How far the runners have come is asked a few times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, TypeVar

from batch.address import Server
from batch.cluster import merging, rules
from batch.cluster.actor import machine
from batch.cluster.fleet import Fleet
from batch.cluster.register import Register
from batch.cluster.seats import Cluster, DiedError, Hand, Seat
from batch.cluster.values import (
    Facts,
    Order,
    Report,
    Trouble,
    abroad,
)
from batch.core.model import Job
from batch.errors import ClusterError, QuotabatchError, RunnerError
from batch.runner.values import Options, Progress
from batch.service import readiness, work
from batch.service.context import Service
from batch.service.runs import Outcome
from batch.store import runners

T = TypeVar("T")

#: Seconds between two looks at a runner.
GLANCE = 0.25
#: Seconds after which it is told that a runner waits for a place.
PLACING = 10.0
#: The same where the cluster is large enough: its processes take their time to start.
STARTING = 60.0
#: Seconds after which a run ends none of whose runners has got a place.
NO_PLACE = 120.0
#: Seconds that runners have to give up their calls, and to say so.
LAST_WORDS = 15.0


async def run(
    service: Service,
    chosen: Sequence[Job],
    options: Options,
    *,
    cluster: Cluster,
    number: int,
    handle: Fleet,
    keep: int = 0,
    separate_ledger: bool = False,
    notify: Callable[[str], None] = lambda _: None,
    show_text: bool = False,
    narrowed: bool = True,
) -> Outcome:
    """Work on these jobs with so many runners, until something ends them all."""
    ready = readiness.sort_out(service, chosen, keep, any_host=options.any_host)
    work.begin(service, chosen, handle)
    handle.progress.extend(Progress(profile.name) for profile in ready.profiles)
    order = Order(
        settings=abroad(service.settings),
        machine=machine(),
        job_ids=tuple(job.id for job in ready.jobs),
        options=options,
        keep=keep,
        separate_ledger=separate_ledger,
        show_text=show_text,
        narrowed=narrowed,
        fingerprints={one.name: service.fingerprint(one) for one in ready.profiles},
    )
    providers = {job.id: job.provider for job in chosen}
    register = Register(handle, options, number, service.clock, notify)
    await Crew(service, cluster, order, providers, register, handle, notify).run()
    return merging.satisfied(
        work.concluded(
            service,
            chosen,
            handle,
            register.endings(),
            narrowed=narrowed,
            skipped=ready.skipped,
        )
    )


class Crew:
    """The runners of one run, and what is known of them."""

    def __init__(
        self,
        service: Service,
        cluster: Cluster,
        order: Order,
        providers: Mapping[int, str],
        register: Register,
        handle: Fleet,
        notify: Callable[[str], None],
    ) -> None:
        self._service = service
        self._clock = service.clock
        self._cluster = cluster
        self._order = order
        #: Of each job.
        self._providers = providers
        self._handle = handle
        self._notify = notify
        self._register = register
        self._seats = register.seats
        #: What the newest runner was when the run began.
        self._newest = service.database.read(runners.newest)
        self._aborted_at: float | None = None
        self._waits_told = False

    async def run(self) -> None:
        """Until every runner has come to its end; RunnerError if one met trouble."""
        tending = [asyncio.create_task(self._tend(seat)) for seat in self._seats]
        try:
            await asyncio.gather(*tending)
        finally:
            for task in tending:
                task.cancel()
            await asyncio.wait(tending)
        trouble = self._register.trouble
        if trouble is not None:
            raise RunnerError(trouble.message, trouble.exit_code)

    async def _tend(self, seat: Seat) -> None:
        """See to it that somebody works here, until there is nothing to do."""
        try:
            while await self._pass(seat):
                pause = asyncio.ensure_future(self._clock.sleep(seat.pause))
                await self._done_within(pause, seat.pause)
                await _drop(pause)
        except QuotabatchError as error:
            self._register.fail(Trouble(str(error), error.exit_code))
        except Exception as error:
            # The others are to finish their calls all the same.
            self._register.fail(Trouble(f"unexpected {type(error).__name__}"))

    async def _pass(self, seat: Seat) -> bool:
        """Have a runner work here; whether it died, and another is to."""
        if self._register.is_ending() or seat.left == 0:
            return False
        hand = self._cluster.hand()
        try:
            if not await self._take_place(seat, hand):
                return False
            report = await self._watch(seat, hand)
        except DiedError as died:
            return self._died(seat, died)
        finally:
            seat.is_working = False
            hand.let_go()
        self._register.see(seat, report.look, all_notices=True)
        if report.trouble is not None:
            self._register.fail(report.trouble)
        ended = [one.ending for one in seat.glances if one.ending is not None]
        if not merging.has_used_its_share(ended):
            self._register.is_over = True
        return False

    async def _take_place(self, seat: Seat, hand: Hand) -> bool:
        """Wait for a place, and for its turn; whether it is to work."""
        since = self._clock.monotonic()
        asking = asyncio.ensure_future(hand.facts())
        try:
            while not await self._done_within(asking, GLANCE):
                if not self._register.wants(seat):
                    return False
                self._tell_of_waiting(seat, self._clock.monotonic() - since)
            facts = asking.result()
        finally:
            await _drop(asking)
        seat.facts = facts
        if not self._accepts(facts):
            return False
        while self._register.wants(seat):
            if self._register.is_proven or not self._is_anybody_working():
                return True
            await self._clock.sleep(GLANCE)
        return False

    async def _watch(self, seat: Seat, hand: Hand) -> Report:
        """Let it work, and look at it until it has come to its end."""
        seat.is_working = seat.has_worked = True
        working = asyncio.ensure_future(hand.work(self._order_of(seat)))
        try:
            while not await self._done_within(working, GLANCE):
                self._check_patience()
                word = replace(self._register.word(), heard=seat.heard)
                self._register.see(seat, await self._answer(hand.look(word)))
            return working.result()
        finally:
            await _drop(working)

    def _died(self, seat: Seat, died: DiedError) -> bool:
        """Somebody died here; whether another is to take the place."""
        facts = seat.facts
        did = {}
        if facts is not None and seat.has_worked:
            did = self._service.database.read(
                runners.did, facts.machine.host, facts.pid, self._newest
            )
        self._register.bury(seat, did)
        where = f" on {facts.machine.host}" if facts else ""
        name = f"Runner {seat.number} of {len(self._seats)}"
        if self._register.is_ending():
            self._notify(f"{name} died{where} before it had ended: {died}.")
            return False
        if seat.is_lost:
            self._register.fail(
                Trouble(
                    f"{name[0].lower()}{name[1:]} died {seat.deaths} times in a row "
                    f"without an answer, the last time{where}: {died}. The run stopped"
                )
            )
            return False
        self._notify(f"{name} died{where}: {died}. Another takes its place.")
        return True

    def _order_of(self, seat: Seat) -> Order:
        """What whoever sits here now is to do."""
        order, ended = self._order, self._register.ends
        options = replace(order.options, max_calls=seat.left)
        ids = [one for one in order.job_ids if self._providers[one] not in ended]
        return replace(order, options=options, job_ids=tuple(ids))

    def _accepts(self, facts: Facts) -> bool:
        here, ours = self._order.machine, version("quotabatch")
        is_file = not isinstance(self._service.settings.database, Server)
        why = rules.refusal(facts, here, ours, is_file=is_file)
        if why:
            self._register.fail(Trouble(why, 2))
        return not why

    def _tell_of_waiting(self, seat: Seat, seconds: float) -> None:
        """Say so where there is no place for a runner, rather than wait in silence."""
        enough = self._cluster.places() >= len(self._seats)
        if seconds < (STARTING if enough else PLACING):
            return
        if not self._waits_told:
            self._waits_told = True
            waiting = sum(one.facts is None for one in self._seats)
            verb = "waits" if waiting == 1 else "wait"
            self._notify(
                f"{waiting} of {len(self._seats)} runners {verb} for a place: "
                f"{self._cluster.room()}."
            )
        if seconds > NO_PLACE and not self._is_anybody_working():
            told = f"the cluster has no place for a runner: {self._cluster.room()}"
            self._register.fail(Trouble(told, ClusterError.exit_code))

    def _is_anybody_working(self) -> bool:
        return any(one.is_working for one in self._seats)

    # Waiting.

    async def _done_within(self, task: asyncio.Future[Any], seconds: float) -> bool:
        """Wait for it, but no longer than this, or the bell; whether it is done."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        ringing = asyncio.ensure_future(self._handle.bell.wait())
        anything = (task, sleeping, ringing)
        await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
        await _drop(sleeping)
        await _drop(ringing)
        return task.done()

    async def _answer(self, asking: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(asking)
        try:
            while not await self._done_within(task, GLANCE):
                self._check_patience()
            return task.result()
        finally:
            await _drop(task)

    def _check_patience(self) -> None:
        """DiedError where all are to end at once, and this one does not for long."""
        if not self._handle.is_aborted:
            return
        now = self._clock.monotonic()
        if self._aborted_at is None:
            self._aborted_at = now
        if now - self._aborted_at > LAST_WORDS:
            raise DiedError("it does not answer")


async def _drop(task: asyncio.Future[Any]) -> None:
    """Wait for it no longer; what came of it was looked at, or is not wanted."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        # Looked at, lest asyncio print it.
        task.exception()
