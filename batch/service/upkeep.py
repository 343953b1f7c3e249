"""What a user does to jobs and to the ledger after submitting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from batch.config import DEFAULT
from batch.core.account import Account
from batch.core.model import Job
from batch.errors import HalfwayError, UsageError
from batch.runner import endings
from batch.runner.sharedtime import SharedTime
from batch.service import allowances, living, readiness
from batch.service.context import PIECE, Service
from batch.service.order import check_params
from batch.service.ordering import due_moment
from batch.store import (
    accounts,
    closures,
    estimates,
    jobs,
    ledger,
    spending,
    states,
    submitting,
    wishes,
)
from batch.store.runners import Orphan
from batch.store.sql import AnyLine
from batch.store.wishes import Cancelled


@dataclass(frozen=True, slots=True)
class Retried:
    """The effect of `retry` on a job."""

    #: As it is now.
    job: Job
    #: Requests that wait again.
    number: int
    #: All that wait now, to be asked with what was changed.
    pending: int
    #: Requests that are cancelled.
    cancelled: int = 0
    #: Of the pending ones, those that name a model of their own, and keep it.
    naming_models: int = 0
    #: Codes that were asked for and that no failure of the job has.
    unknown_codes: Sequence[str] = ()
    #: The codes of its failures before, each with their number.
    known_codes: Mapping[str, int] = field(default_factory=dict)


T = TypeVar("T")


def retry(
    service: Service,
    wanted: str,
    *,
    codes: Sequence[str] = (),
    finish_reasons: Sequence[str] = (),
    invalid: bool = False,
    cancelled: bool = False,
    model: str | None = None,
    params: dict[str, Any] | None = None,
    max_attempts: int | None = None,
) -> Retried:
    """Reopen failed (or cancelled) requests; answers stay.

    With `finish_reasons` or `invalid`: instead, those that were answered so. Their
    answers stay until there are others.
    """
    check_params(params or {})
    job = service.job(wanted)
    profile = service.settings.profile(job.provider)
    database = service.database
    known: dict[str, int] = {}
    if codes:
        found = database.look(states.failures, job)
        known = {code: count for code, _, count in found}
    unknown = [code for code in codes if code not in known]
    database.write(
        wishes.change,
        job.id,
        model=profile.model_id(model) if model else None,
        params={**job.params, **params} if params else None,
        max_attempts=max_attempts,
    )
    number = 0
    if finish_reasons or invalid:
        number = _retry_answered(service, job, finish_reasons, invalid=invalid)
        # Where a profile has it so, such an end is a failure of that name.
        codes = [*codes, *finish_reasons]
    if codes or cancelled or not (finish_reasons or invalid):
        ids = database.read(wishes.closed, job, codes=codes, cancelled=cancelled)
        number += sum(
            _in_pieces(ids, lambda piece: database.write(wishes.retry, job, ids=piece))
        )
    (changed,) = database.look(jobs.listed, ids=[job.id])
    counts = database.look(states.counts, changed)
    return Retried(
        changed,
        number,
        counts.pending,
        cancelled=counts.cancelled,
        naming_models=database.look(states.naming_models, changed),
        unknown_codes=unknown,
        known_codes=known,
    )


def _retry_answered(
    service: Service, job: Job, finish_reasons: Sequence[str], *, invalid: bool
) -> int:
    database = service.database
    ids = database.read(
        wishes.answered, job, finish_reasons=finish_reasons, invalid=invalid
    )

    def retry_these(piece: Sequence[int]) -> int:
        return database.write(
            wishes.retry_answered,
            job,
            finish_reasons=finish_reasons,
            invalid=invalid,
            ids=piece,
        )

    return sum(_in_pieces(ids, retry_these))


def cancel(service: Service, wanted: str) -> tuple[Job, Cancelled]:
    """Cancel the job's pending requests; return the job and the numbers.

    Calls in flight are finished.
    """
    job = service.job(wanted)
    database = service.database
    ids = database.read(wishes.pending, job.id)
    done = _in_pieces(ids, lambda piece: database.write(wishes.cancel, job.id, piece))
    return job, Cancelled(
        cancelled=sum(one.cancelled for one in done),
        withdrawn=sum(one.withdrawn for one in done),
    )


def pause(service: Service, wanted: str) -> Job:
    """Leave the job alone, until `resume`."""
    job = service.job(wanted)
    service.database.write(wishes.pause, job.id, service.time.now())
    return job


def resume(service: Service, wanted: str) -> Job:
    """Work on the job again."""
    job = service.job(wanted)
    service.database.write(wishes.pause, job.id, None)
    return job


def change(
    service: Service,
    wanted: str,
    *,
    priority: int | None = None,
    daily_cap: int | None = None,
    due: str | None = None,
) -> Job:
    """Change how much a job gets, and when; a cap of 0 and "none" take it away."""
    job = service.job(wanted)
    values: dict[str, Any] = {}
    if priority is not None:
        values["priority"] = priority
    if daily_cap is not None:
        values["daily_cap"] = daily_cap or None
    if due is not None:
        values["due_at"] = None if due == "none" else due_moment(due)
    with service.database.transaction() as connection:
        wishes.amend(connection, job.id, values)
        (changed,) = jobs.listed(connection, ids=[job.id])
    return changed


def delete(service: Service, wanted: str) -> Job:
    """Remove the job with its answers; the ledger keeps what was spent on it."""
    job = service.job(wanted)
    running = service.database.write(submitting.withdraw, job.id)
    if running:
        # Those of a run that died are nobody's any more.
        _tell_in_doubt(service, job, living.take_over(service))
        running = service.database.write(submitting.withdraw, job.id)
    if running:
        pids = service.database.read(living.at_work, service)
        elsewhere = ""
        if service.database.lease is not None:
            elsewhere = "; if it died on another machine, `quotabatch run` takes over"
        who = f" ({'process' if len(pids) == 1 else 'processes'} {', '.join(pids)})"
        raise UsageError(
            f"job {job.id} ({job.name}) is being run, calls in flight: {running}"
            f"{who if pids else ''}. Stop that run, then delete the job{elsewhere}"
        )
    # Whoever comes upon it half deleted finishes the work.
    while not service.database.write(submitting.discard, job.id, PIECE):
        pass
    return job


def _tell_in_doubt(service: Service, job: Job, orphans: Sequence[Orphan]) -> None:
    """Tell of the calls that were in flight when their run died."""
    others = [one for one in orphans if one.job_id != job.id]
    if mine := len(orphans) - len(others):
        calls = "1 call was" if mine == 1 else f"{mine} calls were"
        service.tell(f"{calls} in flight when the job's run died: the credits count.")
    if others:
        hold = service.settings["in_doubt"] == "hold"
        service.tell(f"{endings.in_doubt('An earlier run', others, hold=hold)}.")


def forget(service: Service) -> str:
    """Forget what the endpoint of an account taught; return the account.

    That of the key in use, else the only one there is: of the provider, where the user
    named one. UsageError where there is none, or more than one: no account is made.
    """
    one = service.account(service.settings.profile())
    service.bring_in_ledgers(service.settings.profile())
    with service.database.transaction() as connection:
        if service.account_id(connection, service.settings.profile()) is not None:
            account_id, label = _account_id(connection, one), one.label
        else:
            row = _only_account(service, connection)
            account_id, label = row.id, allowances.account_of(row).label
        closures.forget(connection, account_id)
        estimates.forget(connection, account_id)
    return label


def _account_id(connection: Connection, one: Account) -> int:
    return accounts.account(
        connection, one.provider, one.fingerprint, one.host, one.former
    )


def _only_account(service: Service, connection: Connection) -> AnyLine:
    """Return the only account: of the provider that the user named, or of all."""
    settings = service.settings
    provider = settings.profile().name
    rows = spending.accounts_of(connection)
    is_named = settings.origins["provider"] != DEFAULT
    found = [row for row in rows if not is_named or row.provider == provider]
    if len(found) == 1:
        return found[0]
    if not rows:
        raise UsageError("nothing has been used yet, so there is nothing to forget")
    known = ", ".join(allowances.account_of(row).label for row in rows)
    raise UsageError(
        f"{provider} has no account with the key in use; there are: {known}. "
        "Say which with --provider, and with its key set"
    )


def record(service: Service, credits: int, note: str | None) -> str:
    """Book credits that were spent elsewhere with the key in use; the account."""
    profile = readiness.profile_to_book_for(service)
    one = service.account(profile)
    # If this boot's time is unconfirmed, it is stored: the transaction that corrects it
    # carries over what is recorded here.
    shared = SharedTime(service.time)
    service.bring_in_ledgers(profile)
    with service.database.transaction() as connection:
        now = shared.read(connection)
        account_id = _account_id(connection, one)
        quotas = allowances.quotas(service, connection, one)
        ledger.record(connection, account_id, quotas, credits, note, now)
    shared.apply()
    return one.label


def _in_pieces(ids: Sequence[int], work: Callable[[Sequence[int]], T]) -> list[T]:
    """Carry out work on so many requests, some in each transaction.

    HalfwayError where it is interrupted: what is done is done.
    """
    done: list[T] = []

    def carry_out(piece: Sequence[int]) -> None:
        done.append(work(piece))

    try:
        # In a thread that no interruption reaches: the piece under way is finished,
        # and counted.
        with ThreadPoolExecutor(1) as pool:
            for start in range(0, len(ids), PIECE):
                pool.submit(carry_out, ids[start : start + PIECE]).result()
    except KeyboardInterrupt:
        number = len(done) * PIECE
        if number < len(ids):
            raise HalfwayError(
                f"interrupted: {number:,} of {len(ids):,} requests are done; "
                "the same command goes on with the rest"
            ) from None
    return done
