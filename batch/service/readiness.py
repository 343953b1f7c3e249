"""The providers of a run: those that can be called, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence

from batch.core.model import Job
from batch.errors import (
    ConfigError,
    KeyRefusedError,
    LedgerElsewhereError,
    QuotabatchError,
    UsageError,
)
from batch.keys import ANY_PROVIDER, Key
from batch.providers.profiles import Profile
from batch.runner.values import Ending
from batch.service.context import Service

#: What concerns one provider alone, so that the others can be run all the same.
OF_ONE_PROVIDER = (ConfigError, KeyRefusedError, LedgerElsewhereError, UsageError)


def sort_out(
    service: Service, chosen: Sequence[Job], keep: int
) -> tuple[list[Profile], dict[str, Ending]]:
    """Find the profiles that these jobs can be run with.

    Also return how a run ends, by provider, for those that it has to skip.
    """
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


def skip(error: QuotabatchError) -> Ending:
    """Return how a run ends for a provider that it cannot call."""
    return Ending(exit_code=error.exit_code, message=str(error))


def warning(service: Service, provider: str) -> str:
    """Say what a run would skip this provider for; empty where it would not."""
    try:
        check_way(service, service.settings.profile(provider))
    except OF_ONE_PROVIDER as error:
        return str(error)
    return ""


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
