"""What the service counts itself: a balance, and headers."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from clockwork import NOON
from looking_out import HOUR, LONG, evidence
from telling import Telling, a_telling_world
from world import KEY, World

# What it counts itself


def quotas(*more: str, limit: int = 10, balance: str = "") -> str:
    quota = f'{{ name = "daily", limit = {limit}, window = "day" {"".join(more)} }}'
    return f"[profiles.espai]\nquotas = [{quota}]\n{balance}"


BALANCE = """
[profiles.espai.balance]
url = "http://127.0.0.1:{port}/v1/balance"
remaining = "data.left"
limit = "data.limit"
"""


@pytest.fixture
def port(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The stand-in's port, known before it serves."""
    start = Telling.start

    async def at_the_port(self: Telling) -> str:
        return await start(self, unused_tcp_port)

    monkeypatch.setattr(Telling, "start", at_the_port)
    return unused_tcp_port


def told(world: World, *found: Any) -> None:
    """What its balance page answers, time after time; the last for ever."""
    replies = list(found)
    world.standin.balance = lambda: replies.pop(0) if replies[1:] else replies[0]


async def test_a_balance_is_read_before_the_first_call(tmp_path, port):
    text = quotas(balance=BALANCE.format(port=port))
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        told(world, {"data": {"left": 3, "limit": 10}})
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert len(world.calls) == 3
        # It is asked with the key, as its header has it, and once.
        assert world.standin.asked == [f"Bearer {KEY}"]
        assert evidence(world) == ["count"]


async def test_a_balance_with_more_than_we_think_changes_nothing(tmp_path, port):
    text = quotas(limit=4, balance=BALANCE.format(port=port))
    async with a_telling_world(tmp_path, config_toml=text, limit=4) as world:
        told(world, {"data": {"left": 90, "limit": 100}})
        world.submit(9)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 4
        assert (world.notes, evidence(world)) == ([], [])


async def test_a_lower_limit_of_the_balance_holds(tmp_path, port):
    text = quotas(balance=BALANCE.format(port=port))
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        told(world, {"data": {"left": "6", "limit": "6"}})
        world.submit(20)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 6


async def test_a_balance_is_read_after_a_refusal(tmp_path, port):
    text = quotas(limit=20, balance=BALANCE.format(port=port))
    async with a_telling_world(tmp_path, config_toml=text, limit=6) as world:
        told(world, {"data": {"left": 18}}, {"data": {"left": 0}})
        world.submit(30)
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 75
        assert len(world.standin.asked) == 2
        assert [call.outcome for call in world.calls].count("refused") == 1
        # It says itself that nothing is left: no probe is needed to believe it.
        world.clock.time += HOUR
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 7
        assert evidence(world) == ["count", "closed", "count"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda: web.Response(status=500, text="no"),
        lambda: web.Response(status=401, text=f"bad key {KEY}"),
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        lambda: web.Response(text="<html>maintenance</html>", content_type="text/html"),
        lambda: web.Response(text=""),
        lambda: web.Response(body=b"\xff\xfe", content_type="application/json"),
        lambda: {"data": {"left": "plenty"}},
        lambda: {"data": {"left": None}},
        lambda: {"data": {"left": -3}},
        lambda: {"data": [1, 2, 3]},
        lambda: {"something": "else"},
        list,
        lambda: 7,
    ],
)
@pytest.mark.long
async def test_a_balance_that_cannot_be_read_is_one_notice(tmp_path, port, reply):
    text = quotas(limit=20, balance=BALANCE.format(port=port))
    async with a_telling_world(tmp_path, config_toml=text, limit=4) as world:
        world.standin.balance = reply
        world.submit(9)
        # Refused once, so that it is read twice.
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert world.by_day() == {"2026-03-02": 4}
        (notice,) = world.notes
        assert "balance" in notice
        assert KEY not in notice


async def test_a_balance_that_is_not_there_is_one_notice(tmp_path, unused_tcp_port):
    text = quotas(balance=BALANCE.format(port=unused_tcp_port))
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        world.submit(3)
        assert (await world.run()).exit_code == 0
        world.check()
        (notice,) = world.notes
        assert "balance" in notice


async def test_a_balance_of_what_was_used_is_understood(tmp_path, port):
    text = quotas(balance=BALANCE.format(port=port).replace("remaining", "used"))
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        told(world, {"data": {"left": 8}})
        world.submit(20)
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 2


# What its headers state

HEADERS = ', headers = { limit = "X-Limit", remaining = "X-Left", reset = "X-Reset" }'


async def test_a_header_closes_the_window_before_our_count_does(tmp_path):
    text = quotas(HEADERS, limit=10)
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        standin = world.standin
        # Six were spent elsewhere.
        standin.more = lambda: {"X-Left": str(max(0, 4 - len(standin.calls)))}
        world.submit(20)
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 75
        assert len(world.calls) == 4
        assert {call.outcome for call in world.calls} == {"answered"}
        assert "count" in evidence(world)


async def test_a_lower_limit_in_a_header_holds_on_the_next_day_too(tmp_path):
    text = quotas(HEADERS, limit=10)
    async with a_telling_world(tmp_path, config_toml=text, limit=10, nap=LONG) as world:
        world.standin.more = lambda: {"X-Limit": "3"}
        world.submit(8)
        assert (await world.run(wait=True)).exit_code == 0
        world.check()
        assert list(world.by_day().values()) == [3, 3, 2]


async def test_a_stated_reset_is_waited_for(tmp_path):
    """Its day begins two hours after ours."""
    text = quotas(HEADERS, limit=10)
    async with a_telling_world(tmp_path, config_toml=text, limit=10) as world:
        standin = world.standin
        standin.more = lambda: {
            "X-Left": str(max(0, 2 - len(standin.calls))),
            "X-Reset": "14h",
        }
        world.submit(8)
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.endings["espai"].resets_at == NOON + 14 * HOUR
        assert len(world.calls) == 2


@pytest.mark.parametrize("garbage", ["", "-1", "NaN", "many", "1e3", "٣", "9" * 40])
async def test_garbage_in_a_header_changes_nothing(tmp_path, garbage):
    text = quotas(HEADERS, limit=5)
    async with a_telling_world(tmp_path, config_toml=text, limit=5) as world:
        standin = world.standin
        value = garbage.encode().decode("latin-1")
        standin.more = lambda: dict.fromkeys(["X-Limit", "X-Left", "X-Reset"], value)
        world.submit(8)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 5
        assert evidence(world) == []


async def test_answers_that_come_in_any_order_take_nothing_twice(tmp_path):
    """Each says what was left when it began: four are in flight at once."""
    text = quotas(HEADERS, limit=12)
    async with a_telling_world(tmp_path, config_toml=text, limit=12) as world:
        standin = world.standin
        standin.more = lambda: {"X-Left": str(max(0, 12 - len(standin.calls)))}
        world.submit(20)
        assert (await world.run(concurrency=4)).exit_code == 75
        world.check()
        assert len(world.calls) == 12
        assert evidence(world) == []
