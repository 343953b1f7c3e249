"""The purse of one claim: what may be taken from all windows together, and what was.

Rooms are looked up once, taken from in memory, and taken from the rows at the end, all
in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from batch.core.price import (
    ONE_CREDIT_A_CALL,
    Cost,
    Learned,
    Price,
    estimate,
    reservation,
)
from batch.core.quota import TRICKLING, Quota, Unit, WindowKind, daily_cap
from batch.core.standing import Standing
from batch.store import counting, estimates, opening, taking


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who claims: a runner, on whose account, under which quotas, at which price."""

    runner_id: int
    account_id: int
    quotas: tuple[Quota, ...]
    #: Credits of every window to leave alone.
    keep: int = 0
    price: Price = ONE_CREDIT_A_CALL

    @property
    def is_flat(self) -> bool:
        """Whether every call takes the same of every quota."""
        return self.price.is_flat and all(
            one.unit is not Unit.TOKENS for one in self.quotas
        )

    @property
    def has_refills(self) -> bool:
        """Whether a quota comes back continuously."""
        return any(one.kind is WindowKind.REFILL for one in self.quotas)

    def quotas_of(self, purpose: Purpose) -> list[Quota]:
        """The quotas that bind a call for this."""
        found = [quota.of(purpose.model) for quota in self.quotas]
        if purpose.daily_cap is not None:
            found.append(daily_cap(purpose.job_id, purpose.daily_cap, self.quotas))
        return found


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for: it may be bound by its job's cap, and its model's quota."""

    job_id: int
    daily_cap: int | None
    model: str


class Purse:
    """What is left in all windows, for one transaction."""

    def __init__(self, connection: Connection, holder: Holder, now: datetime) -> None:
        self._connection = connection
        self._holder = holder
        self._now = now
        self._windows: dict[tuple[str, str], list[Standing]] = {}
        self._taken: dict[int, Cost] = {}
        self._learned: dict[str, Learned] = {}
        #: Whether a call waits for what comes back to the account bit by bit, so that
        #: no other call may take it.
        self.is_short = False
        opening.adopt(connection, holder.account_id, holder.quotas, now)

    @property
    def standings(self) -> list[Standing]:
        """The windows of the whole account, as they stand now."""
        for quota in self._holder.quotas:
            if quota.of("") is quota:
                self._of(quota)
        return [
            standing
            for (_, scope), found in self._windows.items()
            for standing in found
            if not scope.startswith("job:")
        ]

    def cost(
        self,
        purpose: Purpose,
        messages: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
    ) -> Cost:
        """What a call is expected to cost; never more than a whole window has."""
        holder, model = self._holder, purpose.model
        if holder.is_flat:
            return Cost(1, holder.price.call)
        if model not in self._learned:
            self._learned[model] = estimates.learned(
                self._connection, holder.account_id, model
            )
        found = estimate(holder.price, messages, params, self._learned[model])
        return reservation(found, self._bound(purpose), holder.keep)

    def calls(self, purpose: Purpose) -> int:
        """How many calls at the least price may be made for this."""
        found = self._bound(purpose)
        most = min(one.calls(self._now) for one in found)
        rooms = [self._room(one) // max(1, self._least(one)) for one in found]
        return min(most, *rooms)

    def allows(self, purpose: Purpose, cost: Cost) -> bool:
        """Whether all windows that bind the call have this much."""
        return all(self._grants(one, cost) for one in self._bound(purpose))

    def take(self, purpose: Purpose, cost: Cost) -> bool:
        """Take this much from all windows that bind the call, or nothing."""
        if not self.allows(purpose, cost):
            self.is_short = any(
                one.quota.kind in TRICKLING
                and not one.quota.scope
                and not self._grants(one, cost)
                for one in self._bound(purpose)
            )
            return False
        for one in self._bound(purpose):
            before = self._taken.get(one.window_id, Cost(0, 0, 0))
            self._taken[one.window_id] = Cost(
                before.calls + cost.calls,
                before.credits + cost.credits,
                before.tokens + cost.tokens,
            )
            self._put(one, cost)
        return True

    def grants_at(self, purpose: Purpose, cost: Cost) -> datetime:
        """The earliest time at which such a call may be made."""
        return max(self._grants_at(one, cost) for one in self._bound(purpose))

    def pay(self) -> None:
        """Take from the rows what was taken here."""
        keep, now = self._holder.keep, self._now
        for found in self._windows.values():
            for one in found:
                cost = self._taken.get(one.window_id)
                if cost is not None and not taking.reserve(
                    self._connection, [one], cost, keep, now
                ):
                    raise AssertionError("a window changed inside a transaction")

    def _bound(self, purpose: Purpose) -> list[Standing]:
        quotas = self._holder.quotas_of(purpose)
        return [standing for quota in quotas for standing in self._of(quota)]

    def _of(self, quota: Quota) -> list[Standing]:
        key = (quota.name, quota.scope)
        if key not in self._windows:
            self._windows[key] = opening.open_windows(
                self._connection, self._holder.account_id, [quota], self._now
            )
        return self._windows[key]

    def _grants(self, one: Standing, cost: Cost) -> bool:
        amount = cost.of(one.quota.unit)
        return one.calls(self._now) > 0 and self._room(one) >= amount

    def _room(self, one: Standing) -> int:
        return one.room(self._now, self._holder.keep)

    def _least(self, one: Standing) -> int:
        return Cost(1, self._holder.price.call).of(one.quota.unit)

    def _put(self, one: Standing, cost: Cost) -> None:
        found = self._windows[(one.quota.name, one.quota.scope)]
        place = next(
            i for i, other in enumerate(found) if other.window_id == one.window_id
        )
        found[place] = replace(
            one,
            used=one.used + cost.of(one.quota.unit),
            reserved=one.reserved + cost.of(one.quota.unit),
            # One at a time: this is the one.
            probing_until=self._now + counting.LONGEST_CALL
            if one.is_probe(self._now)
            else None,
        )

    def _grants_at(self, one: Standing, cost: Cost) -> datetime:
        return counting.grants_at(
            self._connection,
            self._holder.account_id,
            one,
            self._holder.keep,
            self._now,
            cost.of(one.quota.unit),
        )
