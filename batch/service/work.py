"""Running: one runner an account, all of them until each has come to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from batch import presence, whereabouts
from batch.address import Server
from batch.core.model import Counts, Job
from batch.errors import KeyRefusedError, UsageError
from batch.keys import ANY_PROVIDER, Key
from batch.providers import endpoints
from batch.providers.profiles import Profile
from batch.runner.runner import Runner
from batch.runner.trade import Trade
from batch.runner.values import Ending, Options
from batch.service import living
from batch.service.context import Service
from batch.service.runs import Outcome, Run, exit_code
from batch.store import audit, clocks, jobs, ledger, realign, room, runners, states
from batch.store.purse import Holder
from batch.store.sql import AnyConnection

#: Up to so many requests are counted before the first call.
COUNTED_AT_ONCE = 100_000


def chosen_jobs(service: Service, wanted: Sequence[str]) -> list[Job]:
    """The jobs that a run is to work on: those named, else all with work to do."""
    if wanted:
        named = [service.job(name) for name in wanted]
        for job in named:
            if job.paused_at is not None:
                raise UsageError(
                    f"job {job.id} ({job.name}) is paused; `quotabatch resume {job.id}`"
                )
        return named
    found = service.database.look(jobs.listed, active=True)
    return [job for job in found if service.database.look(states.has_left, job)]


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
    begin(service, chosen, handle)
    async with AsyncExitStack() as stack:
        for profile in _profiles(service, chosen):
            mine = tuple(job.id for job in chosen if job.provider == profile.name)
            runner = await _runner(
                stack,
                service,
                profile,
                replace(options, job_ids=mine if narrowed else None),
                keep=keep,
                separate_ledger=separate_ledger,
                notify=notify,
                show_text=show_text,
            )
            handle.runners.append(runner)
            handle.progress.append(runner.progress)
        endings = await _all(runner.run() for runner in handle.runners)
    return concluded(service, chosen, handle, endings, narrowed=narrowed)


def check(service: Service, chosen: Sequence[Job], keep: int) -> list[Profile]:
    """The profiles of these jobs; an error where one cannot be run with."""
    profiles = _profiles(service, chosen)
    for profile in profiles:
        _check_keep(profile, keep)
        _needed_key(service, profile)
    return profiles


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
) -> Outcome:
    """What came of a run whose accounts, in the order of `progress`, ended so."""
    names = [progress.provider for progress in handle.progress]
    since = [] if narrowed else _since(service, handle.known, names)
    counted = _count_each(service, [*chosen, *since])
    return Outcome(
        exit_code=exit_code(endings, [counts for _, counts in counted]),
        endings=dict(zip(names, endings, strict=True)),
        progress=dict(zip(names, handle.progress, strict=True)),
        jobs=counted,
        seconds=service.clock.monotonic() - handle.started,
    )


def trust_clock(service: Service) -> None:
    """The user says that this machine's clock is right: go by it from now on."""
    service.time.believe()
    now, boot_id = service.time.now(), service.time.boot_id()
    with service.database.transaction() as connection:
        if service.time.has_boot_clock:
            booted_at = service.time.booted_at
            clocks.believe(connection, boot_id, booted_at, now)
            clocks.date_by(connection, boot_id, booted_at, confirmed=True)
        realign.realign(connection, now)


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
) -> Runner:
    _check_keep(profile, keep)
    key = _needed_key(service, profile)
    if warning := service.keyring.warning():
        notify(warning)
    fingerprint = service.fingerprint(profile)
    account = f"{profile.name}:{fingerprint}"
    home, address = service.settings.home, service.settings.database
    if not separate_ledger:
        whereabouts.claim(home.ledgers, account, address)
    lock = stack.enter_context(service.new_lock("runner"))
    made = service.connect or endpoints.connect
    endpoint = made(profile, key.secret if key else None, service.settings.bounds())
    stack.push_async_callback(endpoint.close)
    holder = service.database.write(
        _begin, service, profile, fingerprint, lock.name, keep
    )
    if not separate_ledger:
        # A `db copy` may have had its turn before ours, and moved the ledger.
        whereabouts.claim(home.ledgers, account, address)
    trade = Trade(
        service.database,
        holder,
        profile.name,
        options,
        service.time,
        lambda connection: living.dead_runners(connection, service),
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
    )


def _begin(
    connection: Connection,
    service: Service,
    profile: Profile,
    fingerprint: str,
    lock: str,
    keep: int,
) -> Holder:
    account_id = ledger.account(connection, profile.name, fingerprint)
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
        quotas=profile.quotas,
        keep=keep,
        price=profile.price,
    )


def _needed_key(service: Service, profile: Profile) -> Key | None:
    key = service.key(profile)
    if key is None and profile.key_env is not None:
        raise KeyRefusedError(
            f"no key for {profile.name}: `quotabatch keys set {profile.name}`, or set "
            f"{profile.key_env} or {ANY_PROVIDER}"
        )
    return key


def _check_keep(profile: Profile, keep: int) -> None:
    for quota in profile.quotas:
        if keep and quota.less(keep) < 1:
            raise UsageError(
                f"--keep {keep} leaves nothing of {profile.name}'s quota "
                f"{quota.name!r} of {quota.limit:,} credits"
            )


def _profiles(service: Service, chosen: Sequence[Job]) -> list[Profile]:
    names = dict.fromkeys(job.provider for job in chosen)
    profiles = [service.settings.profile(name) for name in names]
    shared = [
        profile.name
        for profile in profiles
        if (key := service.key(profile)) and key.origin == f"${ANY_PROVIDER}"
    ]
    if len(shared) > 1:
        raise KeyRefusedError(
            f"{ANY_PROVIDER} would be sent to {' and '.join(shared)}: give each its "
            "own variable, or use `quotabatch keys set`"
        )
    return profiles


def _counts(service: Service, chosen: Sequence[Job]) -> Counts:
    return sum((counts for _, counts in _count_each(service, chosen)), Counts())


def _count_each(service: Service, chosen: Sequence[Job]) -> list[tuple[Job, Counts]]:
    ids = [job.id for job in chosen]

    def counted(connection: AnyConnection) -> list[tuple[Job, Counts]]:
        fresh = jobs.listed(connection, ids=ids)
        return [(job, states.counts(connection, job)) for job in fresh]

    return service.database.look(counted)
