"""The quotas of one account that several profiles describe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from batch.core.quota import Quota, Signals


def shared(profiles: Iterable[tuple[str, Sequence[Quota]]]) -> tuple[Quota, ...]:
    """Return what binds a call on an account: the quotas of all these profiles.

    Two of one name are one quota, and the stricter limit holds. Where they count
    different things, the second is renamed after its profile; so each process must
    name the profiles in the same order.
    """
    found: dict[str, Quota] = {}
    for profile, quotas in profiles:
        for quota in quotas:
            name = quota.name
            if name in found and not _are_alike(found[name], quota):
                name = f"{quota.name} of {profile}"
            before = found.get(name)
            found[name] = (
                replace(quota, name=name) if before is None else _both(before, quota)
            )
    return tuple(found.values())


def _both(one: Quota, other: Quota) -> Quota:
    return replace(
        one,
        limit=min(one.limit, other.limit),
        guard=max(one.guard, other.guard),
        signals=one.signals if one.signals != Signals() else other.signals,
    )


def _are_alike(one: Quota, other: Quota) -> bool:
    """Tell whether they differ only in how much, and how it is told."""
    return one == replace(
        other, name=one.name, limit=one.limit, guard=one.guard, signals=one.signals
    )
