"""Bugs that a product of this kind is likely to have, planted on purpose.

Each is made by exchanging one piece of the product for as long as it is entered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import Connection, update

from batch import worker
from batch.core.model import Claim, Completion, EntryState, Failure, Settlement
from batch.core.verdict import Scope, Verdict
from batch.providers import allowance
from batch.runner import runner
from batch.runner.evidence import Evidence
from batch.runner.trade import Trade
from batch.store import (
    answers,
    clocks,
    counting,
    history,
    kept,
    leases,
    ledger,
    outcomes,
    queue,
    queueing,
    runners,
)
from batch.store.purse import Purpose, Purse
from batch.store.schema import entries, results
from batch.timekeeper import Timekeeper

Patch = pytest.MonkeyPatch
Planted = Callable[[Patch], None]


def reserves_after_the_call(patch: Patch) -> None:
    """A credit is taken when the call has ended, and not before."""
    owed: dict[tuple[int, int], Claim] = {}
    settle = outcomes.settle

    def owe(
        _: Any, holder: Any, __: Any, claims: Sequence[Claim], *___: Any
    ) -> list[Claim]:
        for claim in claims:
            owed[holder.runner_id, claim.request_id] = claim
        return list(claims)

    def pay_and_settle(
        connection: Connection,
        holder: Any,
        settlements: Sequence[Settlement],
        now: datetime,
    ) -> outcomes.Settled:
        made: dict[int, int] = {}
        for one in settlements:
            claim = owed.pop((holder.runner_id, one.request_id), None)
            if claim is None:
                continue
            purse = Purse(connection, holder, now)
            purse.take(Purpose(claim.job_id, None, claim.model), claim.cost)
            purse.pay()
            call = (one.request_id, claim.model, claim.cost)
            made |= ledger.enter(
                connection,
                holder.account_id,
                holder.runner_id,
                [call],
                claim.reserved_at,
            )
            queue.tally(connection, claim.job_id, 1, claim.cost.credits)
        named = [
            replace(one, entry_id=made.get(one.request_id, one.entry_id))
            for one in settlements
        ]
        return settle(connection, holder, named, now)

    patch.setattr(queue, "_pay", owe)
    patch.setattr(outcomes, "settle", pay_and_settle)


def refunds_what_was_disconnected(patch: Patch) -> None:
    """No reply came, so nothing can have been spent: or so it thinks."""
    failed = worker._Trial._failed

    def kindly(self: Any, state: Any) -> Settlement:
        one = failed(self, state)
        if one.failure is not None and one.failure.code in ("dropped", "timeout"):
            return replace(one, credit=EntryState.RELEASED)
        return one

    patch.setattr(worker._Trial, "_failed", kindly)


def rescues_orphans_for_free(patch: Patch) -> None:
    """The calls of the dead were never made: or so it thinks."""
    reap = runners.reap

    def free(
        connection: Connection,
        runner_id: int,
        *,
        hold: bool,
        now: datetime,
        **more: Any,
    ) -> Any:
        connection.execute(
            update(entries)
            .where(entries.c.runner_id == runner_id, entries.c.state == "reserved")
            .values(state=EntryState.RELEASED, settled_at=now)
        )
        return reap(connection, runner_id, hold=hold, now=now, **more)

    patch.setattr(runners, "reap", free)


def stores_what_was_cut(patch: Patch) -> None:
    """Some text is an answer."""
    judge, take = runner.Runner.judge, worker._Trial.take

    def as_answer(reply: Any) -> Any:
        if isinstance(reply, Failure) and reply.partial:
            return Completion(text=reply.partial, finish_reason="unknown")
        return reply

    patch.setattr(
        runner.Runner,
        "judge",
        lambda self, claim, reply: judge(self, claim, as_answer(reply)),
    )
    patch.setattr(
        worker._Trial,
        "take",
        lambda self, reply, verdict: take(self, as_answer(reply), verdict),
    )


def stores_in_two_transactions(patch: Patch) -> None:
    """First the request is completed; its answer follows."""
    exchange = Trade.exchange
    written: list[dict[str, Any]] = []

    complete = answers.complete

    def without_results(
        connection: Connection, settlements: Sequence[Settlement], now: datetime
    ) -> None:
        complete(connection, settlements, now)
        for one in settlements:
            mine = results.c.request_id == one.request_id
            row = connection.execute(results.select().where(mine)).first()
            if row is not None:
                written.append(dict(row._mapping))
                connection.execute(results.delete().where(mine))

    def catch_up(connection: Connection, rows: list[dict[str, Any]]) -> None:
        connection.execute(results.insert().prefix_with("OR REPLACE"), rows)

    async def in_two(self: Trade, batch: Any, *rest: Any, **out: Any) -> Any:
        traded = await exchange(self, batch, *rest, **out)
        if written:
            rows = written.copy()
            written.clear()
            await self._database.run(catch_up, rows)
        return traded

    patch.setattr(answers, "complete", without_results)
    patch.setattr(Trade, "exchange", in_two)


def keeps_no_quiet_time(patch: Patch) -> None:
    """The endpoint's clock is ours: or so it thinks."""
    patch.setattr(allowance, "default_guard", lambda *_: timedelta(0))


def loses_what_is_in_hand(patch: Patch) -> None:
    """An answer that the database refuses is taken by nobody."""
    patch.setattr(kept, "keep", lambda *_: None)


def gives_ids_again(patch: Patch) -> None:
    """The highest request id that is there is the highest that was given."""
    patch.setattr(queueing, "never_again", lambda *_: None)


def takes_a_servers_time_for_a_clock_that_steps(patch: Patch) -> None:
    """A server's clock has a start too, which moves as time goes by."""
    patch.setattr(
        Timekeeper,
        "start",
        property(lambda self: self.now() - timedelta(seconds=self._clock.boot())),
    )


def judges_without_being_heard(patch: Patch) -> None:
    """Whoever is silent is dead, also where nobody could be heard."""
    lapsed = leases.lapsed
    patch.setattr(
        leases,
        "lapsed",
        lambda connection, lease, now, _=None: lapsed(connection, lease, now),
    )


def counts_the_calls_of_each_provider_alone(patch: Patch) -> None:
    """`--max-calls` is the most calls that each provider gets."""
    init = runner.Runner.__init__
    patch.setattr(
        runner.Runner,
        "__init__",
        lambda self, *args, budget=None, **more: init(self, *args, **more),
    )


def forgets_calls_that_were_slept_through(patch: Patch) -> None:
    """No call lasts longer than an hour, also while its machine sleeps."""
    sum_of = counting._sum

    def recent(
        connection: Any, account_id: int, quota: Any, condition: str, **values: Any
    ) -> int:
        if "after" in values:
            condition += " AND reserved_at >= :recently"
            values["recently"] = values["after"] - counting.LONGEST_CALL
        return sum_of(connection, account_id, quota, condition, **values)

    patch.setattr(counting, "_sum", recent)


def takes_a_restart_for_a_clock_that_stepped(patch: Patch) -> None:
    """The same name is the same boot, however short the machine has been up."""
    seen = clocks.seen
    patch.setattr(
        clocks, "seen", lambda connection, boot, uptime: seen(connection, boot, 1e9)
    )


def takes_back_whatever_failed(patch: Patch) -> None:
    """Whatever fails in a run that failures stop is the service's fault."""
    failure = Evidence.failure
    failed: WeakKeyDictionary[Evidence, dict[str, list[int]]] = WeakKeyDictionary()

    def noting(self: Evidence, claim: Claim, *facts: Any) -> int:
        mine = failed.setdefault(self, {})
        mine.setdefault(claim.model, []).append(claim.request_id)
        return failure(self, claim, *facts)

    def every(self: Evidence, *, is_open_end: bool) -> dict[str, list[int]]:
        return failed.get(self, {}) if is_open_end else {}

    patch.setattr(Evidence, "failure", noting)
    patch.setattr(Evidence, "unexplained", every)
    patch.setattr(history, "known_to_fail", lambda *_: set[int]())


def takes_a_refused_model_for_the_account(patch: Patch) -> None:
    """Whoever has no such model has none for this key."""
    judge = runner.judge

    def of_all(*facts: Any) -> Verdict:
        verdict = judge(*facts)
        is_model = verdict.scope is Scope.MODEL
        return replace(verdict, scope=Scope.ACCOUNT) if is_model else verdict

    patch.setattr(runner, "judge", of_all)


def counts_a_stated_wait_as_an_attempt(patch: Patch) -> None:
    """A refusal is a failure of its request, whatever it says."""
    patch.setattr(Verdict, "is_busy", property(lambda _: False))


BUGS: dict[str, Planted] = {
    planted.__name__: planted
    for planted in (
        reserves_after_the_call,
        refunds_what_was_disconnected,
        rescues_orphans_for_free,
        stores_what_was_cut,
        stores_in_two_transactions,
        keeps_no_quiet_time,
        loses_what_is_in_hand,
        gives_ids_again,
    )
}
