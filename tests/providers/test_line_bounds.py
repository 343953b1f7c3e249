"""A call that takes too long, or whose answer is too large, is ended."""

from __future__ import annotations

import asyncio

import pytest
from asking import BRIEF
from bareline import HEAD, OK, TEXT, asked, failure, kind
from bareserver import Drip, Silence, reply, until_closed

from batch.core.model import Completion
from batch.core.verdict import VerdictKind
from batch.providers.bounds import Bounds


@pytest.mark.parametrize(
    ("script", "partial"),
    [
        ([Silence()], ""),
        ([OK[:20], Silence()], ""),
        ([HEAD, Silence()], ""),
        ([OK[:60], Silence()], TEXT[:2]),
        ([OK[:-5], Silence()], TEXT),
        ([until_closed("床前".encode()), Silence()], "床前"),
    ],
)
@pytest.mark.fault(30)
async def test_a_silence_ends_the_call(script, partial):
    loop = asyncio.get_running_loop()
    started = loop.time()
    got = failure(await asked(script), "timeout", partial=partial)
    assert BRIEF.silence <= loop.time() - started + 0.01 < 3 * BRIEF.silence
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(31)
async def test_a_drip_is_bounded_by_the_time_of_the_whole_call():
    loop = asyncio.get_running_loop()
    started = loop.time()
    bounds = Bounds(connect=5, first_byte=0.2, silence=0.2, total=0.2)
    script = [until_closed(b""), Drip(b"x", 0.01)]
    got = failure(await asked(script, bounds), "timeout", partial=None)
    assert set(got.partial) == {"x"}
    assert 0.19 < loop.time() - started < 0.6


@pytest.mark.parametrize("head", [until_closed(b""), HEAD])
@pytest.mark.fault(31)
async def test_an_endless_answer_is_bounded_by_its_size(head):
    data = b"x" * 4096
    chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n"
    script = [head, Drip(chunk if head == HEAD else data)]
    got = failure(await asked(script, Bounds(size=20_000)), "too_long", partial=None)
    assert got.message == "the answer is larger than 20,000 bytes"
    assert len(got.partial) <= 20_000
    assert kind(got) is VerdictKind.RETRY


async def test_an_answer_may_be_as_large_as_the_bound():
    got = await asked(reply(b"x" * 1000), Bounds(size=1000))
    assert isinstance(got, Completion)
    failure(
        await asked(reply(b"x" * 1001), Bounds(size=1000)), "too_long", partial=None
    )
