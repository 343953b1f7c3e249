"""The providers of a run: those that can be called, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batch import presence
from batch.address import Server
from batch.config import DEFAULT, FLAG
from batch.core.expected import OnInvalid
from batch.core.hosts import shown
from batch.core.model import Counts, Job
from batch.core.verdict import StopCause, judge
from batch.errors import (
    ConfigError,
    KeyRefusedError,
    LedgerElsewhereError,
    QuotabatchError,
    UsageError,
)
from batch.keys import ANY_PROVIDER, Key
from batch.providers.profiles import Profile
from batch.runner.pace import DEAD_FROM_THE_START
from batch.runner.values import ALL_INVALID, Ending
from batch.service.context import Service
from batch.store import spending, states
from batch.store.spending import Refusal
from batch.store.sql import AnyConnection

#: Errors that concern one provider alone: the others can still be run.
OF_ONE_PROVIDER = (ConfigError, KeyRefusedError, LedgerElsewhereError, UsageError)


@dataclass(frozen=True, slots=True)
class Ready:
    """The jobs that a run can work on, and what it has to skip."""

    profiles: list[Profile]
    jobs: list[Job]
    #: By provider, or "job N": how the run ends for it.
    skipped: dict[str, Ending]


def sort_out(
    service: Service, chosen: Sequence[Job], keep: int, *, any_host: bool
) -> Ready:
    """Select the jobs that a run can work on, with their profiles.

    Paused jobs are left out, and so are those of providers that cannot be called and,
    unless `any_host`, those that another host has answered so far.
    """
    active = [job for job in chosen if job.paused_at is None]
    usable, skipped = _usable(service, active, keep)
    names = {one.name for one in usable}
    ours = [job for job in active if job.provider in names]
    foreign = {} if any_host else elsewhere(service, ours)
    skipped |= {f"job {job_id}": ending for job_id, ending in foreign.items()}
    ours = [job for job in ours if job.id not in foreign]
    called = {job.provider for job in ours}
    return Ready([one for one in usable if one.name in called], ours, skipped)


def _usable(
    service: Service, chosen: Sequence[Job], keep: int
) -> tuple[list[Profile], dict[str, Ending]]:
    """The profiles that can be called, and how the run ends for each other one."""
    usable: list[Profile] = []
    skipped: dict[str, Ending] = {}
    for name in dict.fromkeys(job.provider for job in chosen):
        try:
            profile = service.settings.profile(name)
            check_keep(profile, keep)
            check_way(service, profile)
        except OF_ONE_PROVIDER as error:
            skipped[name] = skip(error)
        else:
            usable.append(profile)
    shared = _sharing(service, usable)
    if len(shared) > 1:
        refused = KeyRefusedError(
            f"{ANY_PROVIDER} would be sent to {' and '.join(shared)}: give each its "
            "own variable, or use `quotabatch keys set`"
        )
        skipped |= dict.fromkeys(shared, skip(refused))
    return [one for one in usable if one.name not in skipped], skipped


def elsewhere(service: Service, jobs: Sequence[Job]) -> dict[int, Ending]:
    """Find the jobs whose answers so far came from another host than a run would call.

    Return how a run ends that leaves each of them alone, by the job's number.
    """
    found = {}
    for job in jobs:
        profile = service.settings.profile(job.provider)
        if job.host in (None, profile.host):
            continue
        found[job.id] = Ending(
            exit_code=ConfigError.exit_code,
            message=f"job {job.id} ({job.name}) has answers from {shown(job.host)}, "
            f"but a run would now call {place(service, profile)}: it is skipped unless "
            "`run --any-host` mixes the answers",
        )
    return found


def away(service: Service, jobs: Sequence[Job]) -> list[str]:
    """Name the providers of these jobs that are not called at their own host."""
    found = []
    for name in dict.fromkeys(job.provider for job in jobs):
        if name not in service.settings.profiles:
            continue
        profile, own = service.settings.profile(name), service.settings.profiles[name]
        if own.host not in ("", profile.host):
            found.append(place(service, profile))
    return found


def place(service: Service, profile: Profile) -> str:
    """Name a provider together with its host, and with who says so if it does not."""
    named = f"{profile.name} at {shown(profile.host)}"
    if service.settings.profiles[profile.name].host == profile.host:
        return named
    origin = service.settings.origins["base_url"]
    return f"{named} ({'--base-url' if origin == FLAG else origin})"


def skip(error: QuotabatchError) -> Ending:
    """Return how a run ends for a provider that it cannot call."""
    return Ending(exit_code=error.exit_code, message=str(error))


def warning(service: Service, provider: str) -> str:
    """Return why a run would skip this provider; empty if it would not."""
    try:
        check_way(service, service.settings.profile(provider))
    except OF_ONE_PROVIDER as error:
        return str(error)
    return ""


def obstacle(
    service: Service, connection: AnyConnection, job: Job, counts: Counts
) -> str:
    """Say why a run would leave this job's requests pending; empty where none is known.

    Empty too while a run has some of them in flight.
    """
    if not counts.pending:
        return ""
    if counts.running > sum(interrupted(service, connection, job)):
        return ""
    if job.paused_at is not None:
        return f"paused; `quotabatch resume {job.id}` continues it"
    # Those that are asked again keep their answers until there are others.
    asks_again = job.expected is not None and job.expected.on_invalid is OnInvalid.RETRY
    if (
        counts.invalid or (asks_again and states.holds_invalid(connection, job))
    ) and states.invalid_only(connection, job, ALL_INVALID) == ALL_INVALID:
        number = f" ({counts.invalid:,} invalid)" if counts.invalid else ""
        return (
            f"stopped, as no answer so far is valid{number}; "
            f"`quotabatch run {job.id} --allow-invalid` continues it"
        )
    if isinstance(service.settings.database, Server):
        # Another machine may have the key and the settings for it.
        return ""
    if why := warning(service, job.provider):
        return why
    if foreign := elsewhere(service, [job]).get(job.id):
        return foreign.message
    return trouble(service, connection, job.provider, job.model)


def trouble(
    service: Service, connection: AnyConnection, provider: str, model: str
) -> str:
    """Say how the newest calls ended, where a run would stop again; else empty."""
    profile = service.settings.profile(provider)
    account_id = service.account_id(connection, profile) or 0
    refusal = spending.refusal_of(connection, account_id, model)
    if refusal is not None:
        return _key_refused(service, profile, refusal) or (
            f"the last call for {model} was refused ({refusal.failure.message}); the "
            "next run tries one call"
        )
    failing = spending.failing(connection, account_id, DEAD_FROM_THE_START)
    if failing is not None:
        # What never reached the service was no call, and cost nothing.
        what = {failing.number: "calls", 0: "attempts to connect"}
        return (
            f"the last {failing.number} {what.get(failing.sent, 'attempts')} all "
            f"failed ({failing.message}); the next run stops after "
            f"{DEAD_FROM_THE_START} more, unless one is answered"
        )
    return ""


def _key_refused(service: Service, profile: Profile, refusal: Refusal) -> str:
    """Say what a run says of a refusal of the key; empty where it is of another cause.

    The cause is not recorded: the verdict is given anew, and must have the same reason.
    """
    verdict = judge(refusal.failure, profile.rules, service.time.now())
    if verdict.cause is not StopCause.KEY or verdict.because != refusal.because:
        return ""
    # What a run needs takes longer to load than looking may take.
    from batch.runner import endings

    key = service.key(profile)
    origin = key.origin if key else ""
    return endings.stopped(profile.name, refusal.failure, verdict, origin).message


class Interrupted(NamedTuple):
    """The numbers of requests that a run which died holds."""

    #: Those whose calls are in doubt.
    in_doubt: int = 0
    #: Those whose answers are recorded, and not checked.
    unchecked: int = 0


def interrupted(service: Service, connection: AnyConnection, job: Job) -> Interrupted:
    """Count the job's requests whose run died on this machine, as its lock tells."""
    is_shared = isinstance(service.settings.database, Server)
    in_doubt = unchecked = 0
    for lock, (calls, answers) in states.running_by(connection, job).items():
        lives = presence.lives(service.locks, lock)
        if lives is False or (lives is None and not is_shared):
            in_doubt += calls
            unchecked += answers
    return Interrupted(in_doubt, unchecked)


def check_way(service: Service, profile: Profile) -> Key | None:
    """Return the key to call this provider with; raise where it cannot be called."""
    if profile.lacks:
        raise ConfigError(f"{profile.name}: {profile.advice}")
    key = service.key(profile)
    if key is None and profile.key_env is not None:
        raise KeyRefusedError(
            f"no key for {profile.name}: `quotabatch keys set {profile.name}`, or set "
            f"{profile.key_env} or {ANY_PROVIDER}"
        )
    return key


def profile_to_book_for(service: Service) -> Profile:
    """Return the profile in use, on whose account calls can be made.

    KeyRefusedError without its key, as credits booked on the account without a key
    would bind no call. UsageError where the user named no provider, and only others
    than the default one have a key or jobs.
    """
    profile = service.settings.profile()
    try:
        check_way(service, profile)
    except KeyRefusedError:
        others = _in_use(service)
        is_named = service.settings.origins["provider"] != DEFAULT
        if is_named or not others or profile.name in others:
            raise
        raise UsageError(
            f"{profile.name} has neither a key nor jobs; there are: "
            f"{', '.join(others)}. Say which with --provider"
        ) from None
    return profile


def _in_use(service: Service) -> list[str]:
    """Name the providers that have a key or jobs."""
    jobs = service.database.look(spending.providers) if service.has_database else []
    found = []
    for name in sorted(service.settings.profiles):
        try:
            has_key = service.key(service.settings.profile(name)) is not None
        except KeyRefusedError:
            # It has one, though not one that can be sent.
            has_key = True
        if has_key or name in jobs:
            found.append(name)
    return found


def check_keep(profile: Profile, keep: int) -> None:
    """Raise UsageError where a quota has nothing beyond what is to be left alone."""
    for quota in profile.quotas:
        if keep and quota.less(keep) < 1:
            raise UsageError(
                f"--keep {keep} leaves nothing of {profile.name}'s quota "
                f"{quota.name!r} of {quota.limit:,} credits"
            )


def _sharing(service: Service, usable: Sequence[Profile]) -> list[str]:
    """Those that would be sent the key that is meant for any provider."""
    keys = [(profile.name, service.key(profile)) for profile in usable]
    return [name for name, key in keys if key and key.origin == f"${ANY_PROVIDER}"]
