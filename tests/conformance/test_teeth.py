"""Bugs that are planted on purpose: the laws notice each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import process
import pytest
from crews import Together
from director import BrokenLaw, Play, Tally
from endpoints import DAY, HOUR, MINUTE, Clock
from plans import Plan, a_plan, a_priced_plan, a_small_plan, a_steady_plan
from sqlalchemy import func, select, update
from stories import Planner

from batch.core import standing
from batch.core.model import EntryState
from batch.core.quota import Per, Quota, WindowKind
from batch.store import counting, outcomes, purse, runners, taking
from batch.store.schema import entries, windows

MOST = 40


def law_broken_by(
    crew: Together, kinds: Sequence[str], planner: Planner = a_small_plan
) -> int | None:
    """The law that is broken first, in any of some seeds; none with the real code."""
    for seed in range(MOST):
        rng = Random(f"{'+'.join(kinds)} {seed}")
        try:
            Play(rng, planner(rng, kinds), crew, Tally()).play()
        except BrokenLaw as broken:
            return int(str(broken).split()[1])
    return None


def eager(rng: Random, kinds: Sequence[str]) -> Plan:
    """Long calls, no mercy, all at once."""
    plan = a_plan(rng, kinds)
    plan.longest, plan.shortest = 20 * MINUTE, 5 * MINUTE
    plan.requests, plan.keep, plan.processes = 24, 0, 3
    for rule in plan.rules:
        rule["limit"] = rng.randint(2, 4)
        rule.pop("per", None)
        if "period" in rule:
            rule["period"] = rng.choice([HOUR, 5 * HOUR])
    return plan


def punctual(rng: Random, kinds: Sequence[str]) -> Plan:
    """Quick calls by everybody who may, as soon as they may."""
    plan = eager(rng, kinds)
    plan.longest, plan.shortest = 3000, 100
    plan.trouble, plan.moody = 0.0, False
    return plan


def for_models(rng: Random, kinds: Sequence[str]) -> Plan:
    """Every model has an allowance of its own."""
    plan = eager(rng, kinds)
    plan.models = ["m0", "m1", "m2"]
    plan.rules[0]["per"] = "model"
    return plan


def of_the_account(rng: Random, kinds: Sequence[str]) -> Plan:
    """All models share one."""
    plan = for_models(rng, kinds)
    del plan.rules[0]["per"]
    return plan


def with_a_clock_that_is_set(rng: Random, kinds: Sequence[str]) -> Plan:
    """Back by nearly a minute, between a call and the time at which it is back."""
    plan = punctual(rng, kinds)
    plan.trouble = 0.0
    for rule in plan.rules:
        rule["period"], rule["guard"] = 5 * HOUR, MINUTE
    back = [(plan.start + n * 3 * HOUR, (-1) ** n * 29_999) for n in range(60)]
    plan.clock = Clock((0, 29_999), *back)
    return plan


def a_minute_before_midnight(rng: Random, kinds: Sequence[str]) -> Plan:
    """Quick calls on the eve of a reset, at an endpoint that is past it."""
    plan = punctual(rng, kinds)
    for rule in plan.rules:
        rule |= {"zone": "UTC", "reset": "00:00"}
    midnight = plan.start - plan.start % DAY + DAY
    plan.start, plan.clock = midnight - 25_000, Clock((0, 29_999))
    return plan


def minutes_before_midnight(rng: Random, kinds: Sequence[str]) -> Plan:
    """Long calls that begin before a reset, and end after it."""
    plan = a_minute_before_midnight(rng, kinds)
    plan.start -= 4 * MINUTE
    plan.shortest, plan.longest = 5 * MINUTE, 20 * MINUTE
    return plan


def shortly(rng: Random, kinds: Sequence[str]) -> Plan:
    """Calls that take nearly as long as a period."""
    plan = eager(rng, kinds)
    for rule in plan.rules:
        rule["period"] = 15 * MINUTE
    plan.trouble, plan.slots = 0.0, 4
    return plan


def test_a_rolling_period_that_is_five_percent_short(monkeypatch, together):
    real = counting.since

    def short(connection, account_id, quota, moment):
        if quota.kind is WindowKind.ROLLING:
            moment += 0.05 * quota.period + quota.guard
        return real(connection, account_id, quota, moment)

    monkeypatch.setattr(counting, "since", short)
    assert law_broken_by(together, ["rolling"]) == 1


def test_a_rolling_period_without_its_guard(monkeypatch, together):
    real = counting.since

    def unguarded(connection, account_id, quota, moment):
        return real(connection, account_id, quota, moment + quota.guard)

    back = counting.returned_at

    def at_once(connection, account_id, quota, amount, now):
        quota = replace(quota, guard=timedelta(0))
        return back(connection, account_id, quota, amount, now)

    monkeypatch.setattr(counting, "since", unguarded)
    monkeypatch.setattr(counting, "returned_at", at_once)
    assert law_broken_by(together, ["rolling"], with_a_clock_that_is_set) == 1


def test_a_first_call_window_that_ends_a_period_after_its_reservation(
    monkeypatch, together
):
    def reserved(connection, account_id, quota, moment):
        return connection.scalar(
            select(func.min(entries.c.reserved_at)).where(
                entries.c.account_id == account_id,
                entries.c.state != EntryState.RELEASED,
                entries.c.reserved_at >= moment,
            )
        )

    monkeypatch.setattr(counting, "first_call_began_by", reserved)
    assert law_broken_by(together, ["first-call"], eager) == 1


def test_a_first_call_window_that_forgets_what_was_in_flight(monkeypatch, together):
    real = counting.since

    def of_this_window(connection, account_id, quota, moment):
        if quota.kind is not WindowKind.FIRST_CALL:
            return real(connection, account_id, quota, moment)
        return connection.scalar(
            select(func.coalesce(func.sum(entries.c.credits), 0)).where(
                entries.c.account_id == account_id,
                entries.c.state != EntryState.RELEASED,
                entries.c.reserved_at > moment,
            )
        )

    monkeypatch.setattr(counting, "since", of_this_window)
    assert law_broken_by(together, ["first-call"], shortly) == 1


def test_a_refill_that_begins_with_the_reservation(monkeypatch, together):
    real = outcomes._settle_credit

    def early(connection, holder, one, call, now):
        real(connection, holder, one, call, now)
        if one.credit is EntryState.RELEASED:
            return
        (quota,) = holder.quotas
        back = quota.limit * ((now - call.reserved_at) / quota.period)
        connection.execute(
            update(windows)
            .where(windows.c.account_id == holder.account_id)
            .values(level=func.max(0.0, windows.c.level - min(1, back)))
        )

    monkeypatch.setattr(outcomes, "_settle_credit", early)
    assert law_broken_by(together, ["refill"], eager) == 1


def test_a_release_that_gives_back_twice(monkeypatch, together):
    real = taking.give_back

    def twice(*args):
        real(*args)
        real(*args)

    monkeypatch.setattr(taking, "give_back", twice)
    assert law_broken_by(together, ["day"], eager) == 1


def test_a_day_that_forgets_the_calls_carried_into_it(monkeypatch, together):
    monkeypatch.setattr(counting, "touching", lambda *_: 0)
    assert law_broken_by(together, ["day"], minutes_before_midnight) == 1


def test_a_day_without_a_guard_around_its_reset(monkeypatch, together):
    real = process.as_quota

    def unguarded(rule):
        return replace(real(rule), guard=timedelta(0))

    monkeypatch.setattr(process, "as_quota", unguarded)
    assert law_broken_by(together, ["day"], a_minute_before_midnight) == 1


def test_credits_of_failed_calls_that_are_given_back(monkeypatch, together):
    real = outcomes.settle

    def merciful(connection, holder, settlements, now):
        free = [
            one
            if one.completion is not None
            else replace(one, credit=EntryState.RELEASED)
            for one in settlements
        ]
        real(connection, holder, free, now)

    monkeypatch.setattr(outcomes, "settle", merciful)
    assert law_broken_by(together, ["day"]) in (1, 2)


@pytest.mark.long
def test_calls_of_the_dead_that_are_rescued_for_nothing(monkeypatch, together):
    real = runners.reap

    def free(connection, runner_id, *, hold, now):
        connection.execute(
            update(entries)
            .where(
                entries.c.runner_id == runner_id,
                entries.c.state == EntryState.RESERVED,
            )
            .values(state=EntryState.RELEASED, settled_at=now)
        )
        return real(connection, runner_id, hold=hold, now=now)

    monkeypatch.setattr(runners, "reap", free)
    assert law_broken_by(together, ["rolling"], a_plan) in (1, 2)


def test_models_that_have_what_they_should_share(monkeypatch, together):
    real = Quota.of

    def each_its_own(self, model):
        return real(replace(self, per=Per.MODEL), model)

    monkeypatch.setattr(Quota, "of", each_its_own)
    assert law_broken_by(together, ["day"], of_the_account) == 1


def test_a_month_that_lets_a_day_pass(monkeypatch, together):
    """Of several quotas, only the last is asked."""
    real = purse.Purse._bound

    def last_only(self: Any, purpose: Any):
        name = self._holder.quotas[-1].name
        return [one for one in real(self, purpose) if one.quota.name == name]

    monkeypatch.setattr(purse.Purse, "_bound", last_only)
    assert law_broken_by(together, ["month", "day"], eager) == 1


def test_a_keep_that_is_not_kept(monkeypatch, together):
    monkeypatch.setattr(standing, "kept", lambda quota, limit, keep: limit)
    assert law_broken_by(together, ["rolling"]) == 1


@pytest.mark.long
def test_a_price_that_is_never_corrected(monkeypatch, together):
    real = outcomes.settle

    def as_estimated(connection, holder, settlements, now):
        free = [replace(one, cost=None, size=None) for one in settlements]
        real(connection, holder, free, now)

    monkeypatch.setattr(outcomes, "settle", as_estimated)
    assert law_broken_by(together, ["day"], a_priced_plan) == 1


def test_a_denial_that_says_come_back_at_once(monkeypatch, together):
    monkeypatch.setattr(purse.Purse, "grants_at", lambda self, *_: self._now)
    assert law_broken_by(together, ["day"]) == 3


def test_a_first_call_window_that_never_ends(monkeypatch, together):
    monkeypatch.setattr(counting, "first_call_began_by", lambda *_: None)
    assert law_broken_by(together, ["first-call"], punctual) == 3


@pytest.mark.parametrize("kind", ["day", "rolling"])
@pytest.mark.long
def test_models_that_share_what_each_has_for_itself(monkeypatch, together, kind):
    """Too timid: nine tenths cannot be used."""
    monkeypatch.setattr(Quota, "of", lambda self, model: self)
    rng, days = Random(kind), 4
    plan = a_steady_plan(rng, kind, 3 * days)
    (rule,) = plan.rules
    rule["per"] = "model"
    if "period" in rule:
        rule["period"] = DAY
    plan.models = ["m0", "m1", "m2"]
    story = Play(rng, plan, together, Tally())
    story.play_until(plan.start + (days + 1) * DAY)
    assert story.service.calls < 0.9 * 2 * rule["limit"] * days


@pytest.mark.long
def test_the_real_code_breaks_no_law_where_these_do(together):
    """What is caught is the bug, and not the plan that was made for it."""
    for kinds, planner in [
        (["rolling"], with_a_clock_that_is_set),
        (["first-call"], eager),
        (["refill"], eager),
        (["day"], a_minute_before_midnight),
        (["day"], minutes_before_midnight),
        (["first-call"], shortly),
        (["day"], of_the_account),
        (["day"], for_models),
        (["month", "day"], eager),
        (["first-call"], punctual),
    ]:
        rng = Random(f"{'+'.join(kinds)} 0")
        plan = planner(rng, kinds)
        plan.requests = 8
        Play(rng, plan, together, Tally()).play()
