from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from clockwork import NOON

from batch.clock import one_turn
from batch.core.model import Claim, EntryState, RequestState, Settlement
from batch.core.statements import Statement
from batch.core.verdict import Verdict, VerdictKind
from batch.runner.tray import QUIET, TURNS, Refusal, Tray

GONE = Refusal("m", "used up", Verdict(kind=VerdictKind.EXHAUSTED))
SAID = Statement(quota="daily", remaining=7, source="headers", asked_at=NOON)


def claim(number: int) -> Claim:
    return Claim(
        request_id=number,
        job_id=1,
        custom_id=str(number),
        messages=[{"role": "user", "content": "?"}],
        model="m",
        params={},
        failures=0,
        max_attempts=3,
        reserved_at=NOON,
    )


def settlement(number: int) -> Settlement:
    return Settlement(
        entry_id=number,
        request_id=number,
        state=RequestState.PENDING,
        credit=EntryState.SPENT,
    )


async def test_what_gathers_is_taken_once():
    tray = Tray()
    assert not tray
    assert not tray.take()
    settled, renewed = tray.write(settlement(1)), tray.renew(claim(2))
    tray.refuse(GONE)
    tray.state([SAID])
    assert tray
    assert tray.wake.is_set()
    batch = tray.take()
    assert batch.settlements == [settlement(1)]
    assert batch.claims == [claim(2)]
    assert batch.refusals == [GONE]
    assert batch.statements == [SAID]
    assert not tray
    assert not tray.take()
    assert not settled.done()
    assert not renewed.done()
    batch.answer([None])
    assert await settled is None
    assert await renewed is None


@pytest.mark.parametrize(
    "put",
    [lambda tray: tray.refuse(GONE), lambda tray: tray.state([SAID])],
    ids=["a refusal", "a statement"],
)
async def test_the_word_of_the_endpoint_alone_is_worth_a_transaction(put):
    tray = Tray()
    put(tray)
    assert tray
    assert tray.take()
    assert not tray


async def test_everybody_is_answered_in_turn():
    tray = Tray()
    asking = [tray.renew(claim(number)) for number in range(3)]
    tray.take().answer([claim(0), None, claim(2)])
    assert [await one for one in asking] == [claim(0), None, claim(2)]


async def test_an_outcome_that_nobody_waits_for_is_recorded_too():
    tray = Tray()
    tray.settle(settlement(1))
    assert tray.wake.is_set()
    batch = tray.take()
    assert batch.settlements == [settlement(1)]
    batch.answer([])
    assert not tray


async def test_who_left_meanwhile_is_not_answered():
    tray = Tray()
    settled, renewed = tray.write(settlement(1)), tray.renew(claim(2))
    batch = tray.take()
    settled.cancel()
    renewed.cancel()
    batch.answer([claim(2)])
    assert settled.cancelled()
    assert renewed.cancelled()


async def test_what_could_not_be_recorded_is_kept_in_its_order():
    tray = Tray()
    first = tray.write(settlement(1))
    batch = tray.take()
    second = tray.write(settlement(2))
    tray.put_back(batch)
    again = tray.take()
    assert again.settlements == [settlement(1), settlement(2)]
    again.answer([])
    await asyncio.gather(first, second)


async def test_no_more_are_renewed_than_there_are_calls_left():
    tray = Tray()
    asking = [tray.renew(claim(number)) for number in range(3)]
    batch = tray.take(renewals=1)
    assert batch.claims == [claim(0)]
    assert [one.done() for one in asking] == [False, True, True]
    assert await asking[2] is None


async def test_no_more_outcomes_are_taken_than_fit_and_the_others_follow():
    tray = Tray()
    for number in range(5):
        tray.settle(settlement(number))
    tray.wake.clear()
    assert tray.take(outcomes=3).settlements == [settlement(n) for n in range(3)]
    assert tray.wake.is_set()
    tray.wake.clear()
    assert tray.take(outcomes=3).settlements == [settlement(3), settlement(4)]
    assert not tray.wake.is_set()
    assert not tray


async def test_who_left_meanwhile_is_not_refused_either():
    tray = Tray()
    tray.renew(claim(1)).cancel()
    assert not tray.take(renewals=0)


async def comes_in(tray: Tray, turns: Sequence[int]) -> None:
    """One outcome after so many turns of the loop, then the next."""
    for number, late in enumerate(turns):
        for _ in range(late):
            await one_turn()
        tray.settle(settlement(number))


@pytest.mark.parametrize(
    ("turns", "together"),
    [
        ([1, 1, 1, 1], 4),
        ([1, 2, 2], 3),
        ([1, QUIET - 1, 0, 1], 4),
        ([1, QUIET + 1, 1], 1),
        ([1, 1, QUIET + 1], 2),
        # Though they go on to come in, it has its end.
        ([1] * (2 * TURNS), TURNS + 1),
    ],
)
async def test_what_is_at_the_door_comes_in(turns, together):
    tray = Tray()
    coming = asyncio.ensure_future(comes_in(tray, turns))
    await tray.wake.wait()
    await tray.gather(99)
    assert len(tray.take().settlements) == together
    await coming


async def test_more_than_fit_are_not_waited_for():
    tray = Tray()
    coming = asyncio.ensure_future(comes_in(tray, [1, 1, 1, 1]))
    await tray.wake.wait()
    await tray.gather(2)
    assert len(tray.take().settlements) == 2
    await coming


async def test_an_empty_tray_waits_for_nothing():
    tray = Tray()
    coming = asyncio.ensure_future(comes_in(tray, [1]))
    await tray.gather(99)
    assert not tray
    await coming
