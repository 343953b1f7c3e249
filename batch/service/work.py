"""Running: one runner an account, all of them until each has come to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from batch import presence, whereabouts
from batch.address import Server
from batch.core.model import Counts, Job
from batch.providers import endpoints
from batch.providers.profiles import Profile
from batch.runner.budget import CallBudget
from batch.runner.queries import RunQueries
from batch.runner.runner import Runner
from batch.runner.trade import Trade
from batch.runner.values import Ending, Options
from batch.service import allowances, limits, living, readiness, unchecked
from batch.service.context import Service
from batch.service.runs import Outcome, Run, exit_code, settled
from batch.store import (
    accounts,
    audit,
    carrying,
    clocks,
    jobs,
    room,
    runners,
    states,
)
from batch.store.purse import Holder
from batch.store.sql import AnyConnection

#: Up to so many requests are counted before the first call.
COUNTED_AT_ONCE = 100_000
#: Exit codes above this are those of signals.
SIGNALLED = 128


def chosen_jobs(service: Service, wanted: Sequence[str]) -> list[Job]:
    """The jobs that a run is to work on: those named, else all with work to do.

    One that is named may be paused: no call is made for it, and its work remains.
    """
    if wanted:
        return [service.job(name) for name in wanted]
    found = service.database.look(jobs.listed, active=True)
    return [job for job in found if service.database.look(states.has_left, job)]


def paused_jobs(service: Service) -> list[Job]:
    """List the paused jobs with work left, which a run of all jobs leaves alone."""
    paused = [job for job in service.database.look(jobs.listed) if job.paused_at]
    return [job for job in paused if service.database.look(states.has_left, job)]


async def run(
    service: Service,
    chosen: Sequence[Job],
    options: Options,
    *,
    keep: int = 0,
    separate_ledger: bool = False,
    handle: Run | None = None,
    notify: Callable[[str], None] = lambda _: None,
    show_text: bool = False,
    narrowed: bool = True,
) -> Outcome:
    """Work on these jobs until they are done, or something ends it.

    `narrowed` False: also on jobs of the same providers that come in meanwhile.
    """
    handle = handle if handle is not None else Run()
    path = service.settings.database
    if not isinstance(path, Server):
        room.remove_ballast(path)
    room.check(service.settings.beside_database)
    if not isinstance(path, Server):
        # A damaged page is noticed only where it is read: an answer to be stored there
        # would be paid for in vain.
        service.database.read(audit.refuse_damage, path)
    ready = readiness.sort_out(service, chosen, keep, any_host=options.any_host)
    skipped = ready.skipped
    begin(service, chosen, handle)
    budget = CallBudget(options.max_calls)
    async with AsyncExitStack() as stack:
        for profile in ready.profiles:
            mine = tuple(job.id for job in ready.jobs if job.provider == profile.name)
            host = None if options.any_host else profile.host
            only = mine if narrowed else None
            try:
                runner = await _runner(
                    stack,
                    service,
                    profile,
                    replace(options, job_ids=only, host=host),
                    keep=keep,
                    separate_ledger=separate_ledger,
                    notify=notify,
                    show_text=show_text,
                    budget=budget,
                    providers=len(ready.profiles),
                )
            except readiness.OF_ONE_PROVIDER as error:
                skipped[profile.name] = readiness.skip(error)
                continue
            handle.runners.append(runner)
            handle.progress.append(runner.progress)
        if options.wait and handle.runners:
            # Its end, where they are named, may be days away.
            for text in dict.fromkeys(one.message for one in skipped.values()):
                notify(f"Skipped: {text}")
            skipped = {
                name: replace(one, message=f"{name} was skipped (see above)")
                for name, one in skipped.items()
            }
        endings = await _all(runner.run() for runner in handle.runners)
    if all(one.exit_code < SIGNALLED for one in endings):
        # Of a run that died, which this one has taken over.
        unchecked.check(service, notify)
    return concluded(
        service, chosen, handle, endings, narrowed=narrowed, skipped=skipped
    )


def begin(service: Service, chosen: Sequence[Job], handle: Run) -> None:
    """Put down what there is before a run."""
    handle.started = service.clock.monotonic()
    handle.count = lambda: _counts(service, chosen)
    if sum(job.total for job in chosen) <= COUNTED_AT_ONCE:
        _ = handle.counts
    handle.known = {job.id for job in service.database.read(jobs.listed)}


def concluded(
    service: Service,
    chosen: Sequence[Job],
    handle: Run,
    endings: Sequence[Ending],
    *,
    narrowed: bool,
    skipped: Mapping[str, Ending],
) -> Outcome:
    """What came of a run whose accounts, in the order of `progress`, ended so."""
    names = [progress.provider for progress in handle.progress]
    others = [] if narrowed else _since(service, handle.known, names)
    late = _late(others, handle, endings)
    if not narrowed:
        known = {job.id for job in [*chosen, *others]}
        others += [job for job in paused_jobs(service) if job.id not in known]
    counted = standings(service, [*chosen, *others])
    ready = {
        job.provider
        for job, counts in counted
        if counts.pending and job.paused_at is None
    }
    endings = [
        one if name in ready else settled(one)
        for name, one in zip(names, endings, strict=True)
    ]
    return Outcome(
        exit_code=exit_code(
            [*endings, *skipped.values()],
            [counts for job, counts in counted if job.id not in late],
        ),
        endings=dict(zip(names, endings, strict=True)),
        progress=dict(zip(names, handle.progress, strict=True)),
        jobs=counted,
        seconds=service.clock.monotonic() - handle.started,
        skipped=dict(skipped),
    )


def _late(others: Sequence[Job], handle: Run, endings: Sequence[Ending]) -> set[int]:
    """Select the jobs that came in when there was nothing left to do.

    They are no work that remains of this run, which has called for none of them.
    """
    if any(one.exit_code for one in endings):
        return set()
    called: set[int] = set()
    for progress in handle.progress:
        if progress.job_ids is None:
            return set()
        called |= progress.job_ids
    return {job.id for job in others} - called


def trust_clock(service: Service) -> None:
    """Go by this machine's clock from now on: the user says that it is right."""
    clock = service.time
    before, was_doubtful = clock.now(), clock.is_doubtful
    clock.believe()
    now = clock.now()
    with service.database.transaction() as connection:
        # What was spent by a clock that was ahead counts as of now, and what was spent
        # by one that was behind, unless it was confirmed then: so much time has passed.
        if not was_doubtful or before > now:
            before = max(before, now + clocks.lead(connection, now))
        if before != now:
            carrying.carry(connection, before, now)
        if clock.start is not None:
            start = clocks.Start(clock.start, confirmed=True, agreed_at=now)
            clocks.believe(connection, clock.boot_id(), start, now)
    clock.has_news = False


def _since(service: Service, known: set[int], providers: Sequence[str]) -> list[Job]:
    """The jobs of these providers that came in meanwhile."""
    return [
        job
        for job in service.database.read(jobs.listed, active=True)
        if job.id not in known and job.provider in providers
    ]


async def _all(running: Iterable[Coroutine[Any, Any, Ending]]) -> list[Ending]:
    """Every ending; a fault of one is raised once the others have ended too."""
    results = await asyncio.gather(*running, return_exceptions=True)
    endings = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        endings.append(result)
    return endings


async def _runner(
    stack: AsyncExitStack,
    service: Service,
    profile: Profile,
    options: Options,
    *,
    keep: int,
    separate_ledger: bool,
    notify: Callable[[str], None],
    show_text: bool,
    budget: CallBudget,
    providers: int,
) -> Runner:
    key = readiness.check_way(service, profile)
    if warning := service.keyring.warning():
        notify(warning)
    account = service.account(profile)
    home, address = service.settings.home, service.settings.database
    if not separate_ledger:
        whereabouts.claim(home.ledgers, account.name, address, account.former_names)
    lock = stack.enter_context(service.new_lock("runner"))
    made = service.connect or endpoints.connect
    idle = limits.idle_connections(service.settings["concurrency"], providers)
    bounds = replace(service.settings.bounds(), idle=idle)
    endpoint = made(profile, key.secret if key else None, bounds)
    stack.push_async_callback(endpoint.close)
    service.bring_in_ledgers(profile)
    holder = service.database.write(_begin, service, profile, lock.name, keep)
    if not separate_ledger:
        # A `db copy` may have had its turn before ours, and moved the ledger.
        whereabouts.claim(home.ledgers, account.name, address, account.former_names)
    queries = RunQueries(service.database, holder, profile.name, options, service.time)
    trade = Trade(
        service.database,
        holder,
        queries,
        options,
        service.time,
        lambda connection, heard: living.dead_runners(connection, service, heard),
    )
    return Runner(
        trade=trade,
        provider=profile.name,
        rules=profile.rules,
        endpoint=endpoint,
        clock=service.time,
        random=service.random,
        options=options,
        notify=notify,
        show_text=show_text,
        budget=budget,
        key_origin=key.origin if key else "",
    )


def _begin(
    connection: Connection,
    service: Service,
    profile: Profile,
    lock: str,
    keep: int,
) -> Holder:
    one = service.account(profile)
    account_id = accounts.account(
        connection, one.provider, one.fingerprint, one.host, one.former
    )
    runner_id = runners.begin(
        connection,
        account_id,
        host=presence.host(),
        pid=os.getpid(),
        lock=lock,
        now=service.time.now(),
    )
    return Holder(
        runner_id=runner_id,
        account_id=account_id,
        quotas=allowances.quotas(service, connection, one),
        keep=keep,
        price=profile.price,
    )


def _counts(service: Service, chosen: Sequence[Job]) -> Counts:
    return sum((counts for _, counts in standings(service, chosen)), Counts())


def standings(service: Service, chosen: Sequence[Job]) -> list[tuple[Job, Counts]]:
    """Count where the requests of these jobs stand now."""
    ids = [job.id for job in chosen]

    def counted(connection: AnyConnection) -> list[tuple[Job, Counts]]:
        fresh = jobs.listed(connection, ids=ids)
        return [(job, states.counts(connection, job)) for job in fresh]

    return service.database.look(counted)
