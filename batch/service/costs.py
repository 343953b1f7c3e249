"""Expected costs of pending requests, by the estimate that a run reserves by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batch.core.forecast import Charge
from batch.core.price import (
    NOTHING_LEARNED,
    Cost,
    Learned,
    average,
    estimate,
    reservation,
)
from batch.core.quota import Unit
from batch.core.standing import Standing
from batch.providers.profiles import Profile
from batch.store import estimates, sampling, spending
from batch.store.sampling import Sampled
from batch.store.sql import AnyConnection

#: Calls that the price of a call is taken from where no request can be looked at.
OF_LATE = 100

#: The cost of a call on average, and the amount that is reserved for it.
_Estimate: TypeAlias = tuple[Cost, Cost]


@dataclass(slots=True)
class Drafts:
    """A bounded sample of requests that are not queued; they come one by one."""

    first: list[Sampled] = field(default_factory=list)
    others: list[Sampled] = field(default_factory=list)
    _seen: int = 0
    #: Of the others, one of so many is kept.
    _step: int = 1

    def see(self, make: Callable[[], Sampled]) -> None:
        """Count a request, and keep it where it is its turn."""
        if len(self.first) < sampling.SIZE:
            self.first.append(make())
            return
        if self._seen % self._step == 0:
            self.others.append(make())
        if len(self.others) == 2 * sampling.SIZE:
            self.others = self.others[::2]
            self._step *= 2
        self._seen += 1


@dataclass(frozen=True, slots=True)
class Costs:
    """Expected costs of the calls of a job, in their order."""

    calls: int
    first: Sequence[_Estimate]
    #: By unit, the average of those after the first ones.
    others: Mapping[Unit, Charge]
    is_bounded: bool = True

    def first_of(self, unit: Unit) -> list[Charge]:
        """List the first calls as a quota of this unit counts them."""
        return [_charge([one], unit) for one in self.first]

    def each(self, unit: Unit) -> float:
        """Return the average of all calls."""
        others = self.others[unit].cost
        if not self.first:
            return others
        first = sum(cost.of(unit) for cost, _ in self.first)
        return (first + (self.calls - len(self.first)) * others) / self.calls


@dataclass(slots=True)
class Estimator:
    """Estimates the calls of one job on one account."""

    connection: AnyConnection
    profile: Profile
    account_id: int
    #: The windows that bind them, and what of each is left alone.
    bound: Sequence[Standing]
    keep: int
    _learned: dict[str, Learned] = field(default_factory=dict)

    def costs(
        self,
        job_id: int,
        model: str,
        params: Mapping[str, Any],
        calls: int,
        drafted: int,
        drafts: Drafts,
    ) -> Costs:
        """Estimate the calls of a job; the last `drafted` ones are not queued."""
        if self.profile.is_flat:
            each = Charge(self.profile.price.call, self.profile.price.call)
            by_unit = {Unit.CREDITS: each, Unit.CALLS: Charge(), Unit.TOKENS: Charge()}
            return Costs(calls, (), by_unit, is_bounded=False)

        def estimated(sample: Sequence[Sampled]) -> list[_Estimate]:
            return [self._estimate(one, model, params) for one in sample]

        queued = sampling.sample(self.connection, job_id)
        first, others = estimated(queued.first), estimated(queued.others)
        new, newer = estimated(drafts.first), estimated(drafts.others)
        waiting = calls - drafted
        if not waiting:
            waiting, drafted = drafted, 0
            first, others, new, newer = new, newer, [], []
        first = first[:calls]
        parts = [
            (waiting - len(first), others or first),
            (min(drafted, len(new)), new),
            (drafted - len(new), newer or new),
        ]
        return Costs(calls, first, {unit: self._mean(parts, unit) for unit in Unit})

    def _mean(
        self, parts: Sequence[tuple[int, Sequence[_Estimate]]], unit: Unit
    ) -> Charge:
        """Average these samples, each of which stands for so many calls."""
        known = [
            (max(0, calls), _charge(sample, unit)) for calls, sample in parts if sample
        ]
        if not known:
            return self._of_late(unit)
        number = sum(calls for calls, _ in known)
        if not number:
            return known[0][1]
        return Charge(
            sum(calls * one.cost for calls, one in known) / number,
            sum(calls * one.held for calls, one in known) / number,
        )

    def _of_late(self, unit: Unit) -> Charge:
        """Average the account's newest calls: no request is there to be looked at."""
        rows = spending.newest_calls(self.connection, self.account_id, OF_LATE)
        of_late = [Cost(1, row.credits, row.tokens) for row in rows]
        if not of_late:
            of_late = [estimate(self.profile.price, [], {}, NOTHING_LEARNED)]
        return _charge([(one, one) for one in of_late], unit)

    def _estimate(
        self, one: Sampled, model: str, params: Mapping[str, Any]
    ) -> _Estimate:
        model = one.model or model
        if model not in self._learned:
            self._learned[model] = estimates.learned(
                self.connection, self.account_id, model
            )
        price, learned = self.profile.price, self._learned[model]
        asked = one.messages, {**params, **one.params}, learned
        held = reservation(estimate(price, *asked), self.bound, self.keep)
        return average(price, *asked), held


def _charge(sample: Sequence[_Estimate], unit: Unit) -> Charge:
    """Average a sample as a quota of this unit counts it."""
    return Charge(
        sum(cost.of(unit) for cost, _ in sample) / len(sample),
        sum(held.of(unit) for _, held in sample) / len(sample),
    )
