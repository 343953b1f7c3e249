"""Refusals of the key or of a model: about one request, or about all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from aiohttp import web
from test_progress import ALL, Moody, bad_rows, states
from world import MODEL, a_world

from batch.standin.service import Standin


class Refusing(Moody):
    fault = "error:4000"


class Forbidding(Moody):
    fault = "http:403"


class Unauthorized(Moody):
    fault = "http:401"


@pytest.mark.parametrize("kind", [Refusing, Forbidding, Unauthorized])
async def test_a_request_that_is_refused_among_answers_is_a_failed_request(
    tmp_path, kind
):
    async with a_world(tmp_path, kind=kind) as world:
        world.submit(9)
        bad_rows(world, {"p4"})
        outcome = await world.run(concurrency=2)
        world.check()
        assert outcome.exit_code == 1
        assert states(world) == {"completed": 8, "failed": 1}
        assert Counter(world.asked) == {
            f"p{n}": 3 if n == 4 else 1 for n in range(1, 10)
        }
        (failed,) = [one for one in world.export() if one["status"] == "failed"]
        assert kind.fault[-4:].strip(":") in failed["error"]["message"]


@pytest.mark.parametrize("kind", [Refusing, Unauthorized])
async def test_a_refused_account_stops_with_the_second_request(tmp_path, kind):
    async with a_world(tmp_path, kind=kind) as world:
        world.submit(20)
        bad_rows(world, {f"p{n}" for n in range(4, 21)})
        for refused in (2, 4):
            outcome = await world.run(concurrency=1)
            assert outcome.exit_code == 77
            assert len(world.calls) == 3 + refused
            # Each was another, and none is blamed for it.
            assert max(Counter(world.asked).values()) == 1
            assert states(world) == {"completed": 3, "pending": 17}
        assert "refused the key" in outcome.endings["espai"].message
        assert world.query("SELECT max(failures) FROM requests") == [(0,)]
        # The user put the key right.
        bad_rows(world, ())
        assert (await world.run()).exit_code == 0
        world.check()
        assert states(world) == {"completed": 20}


@pytest.mark.parametrize("rows", [1, 5])
async def test_an_account_that_never_answered_stops_with_the_first(tmp_path, rows):
    async with a_world(tmp_path, kind=Refusing) as world:
        world.submit(rows)
        bad_rows(world, {f"p{n}" for n in range(1, 6)})
        for number in range(1, 3):
            assert (await world.run()).exit_code == 77
            assert len(world.calls) == number
        assert len(set(world.asked)) == min(rows, 2)
        assert states(world) == {"pending": rows}


async def test_requests_that_are_refused_side_by_side_end_as_failed(tmp_path):
    """Each stops a run with the other; alone among answers they are recognised."""
    async with a_world(tmp_path, kind=Refusing) as world:
        world.submit(9)
        bad = {"p1", "p5", "p6"}
        bad_rows(world, bad)
        codes = [(await world.run(concurrency=1)).exit_code for _ in range(5)]
        world.check()
        assert states(world) == {"completed": 6, "failed": 3}
        assert 1 in codes
        assert codes[-1] == 0
        assert len(world.calls) <= 6 + 3 * 3 + 2 * codes.count(77)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_the_last_requests_of_all_fail_in_the_end(tmp_path, concurrency):
    """Nothing can tell them from a refused account; they are not asked for ever."""
    async with a_world(tmp_path, kind=Refusing) as world:
        world.submit(9)
        bad_rows(world, {"p8", "p9"})
        for _ in range(3):
            outcome = await world.run(concurrency=concurrency)
            assert outcome.exit_code in (1, 77)
        world.check()
        assert states(world) == {"completed": 7, "failed": 2}
        assert len(world.calls) <= 7 + 2 * 3


@pytest.mark.parametrize("kind", [Refusing, Unauthorized])
async def test_a_new_day_that_begins_with_such_a_request_goes_on(tmp_path, kind):
    async with a_world(tmp_path, kind=kind) as world:
        world.submit(3)
        assert (await world.run()).exit_code == 0
        world.submit([f"q{n}" for n in range(1, 6)])
        bad_rows(world, {"q1"})
        assert (await world.run()).exit_code == 1
        assert states(world) == {"completed": 7, "failed": 1}


class Missing(Moody):
    fault = "http:404"


async def test_rows_that_are_not_found_do_not_block_those_behind(tmp_path):
    """Their refusals read as if they were about the model, which answers others."""
    async with a_world(tmp_path, kind=Missing) as world:
        world.submit(51)
        bad_rows(world, {f"p{n}" for n in range(6, 12)})
        codes = [(await world.run(concurrency=3)).exit_code for _ in range(3)]
        assert states(world)["completed"] == 45
        codes += [(await world.run(concurrency=3)).exit_code for _ in range(2)]
        world.check()
        assert states(world) == {"completed": 45, "failed": 6}
        assert codes[-1] == 0
        assert len(world.calls) <= 45 + 3 * 6 + ALL


async def test_a_model_that_was_withdrawn_costs_two_calls_a_run(tmp_path):
    async with a_world(tmp_path, kind=Missing) as world:
        world.submit(7)
        bad_rows(world, {f"p{n}" for n in range(4, 8)})
        for number in range(1, 9):
            outcome = await world.run(concurrency=1)
            assert outcome.exit_code == 78
            assert len(world.calls) == 3 + 2 * number
            # Each was asked more often than it may fail, and none is blamed for it.
            assert states(world) == {"completed": 3, "pending": 4}
        message = outcome.endings["espai"].message
        assert "check base_url and model" in message
        assert "once the service answers" not in message
        assert max(Counter(world.asked).values()) > 3


class Restricting(Moody):
    """A LiteLLM proxy whose key is for one model only."""

    def _receive(self, body: Any, key: object) -> tuple[str, str]:
        self.always = "" if body["model"] == MODEL else "http:401"
        return Standin._receive(self, body, key)

    async def _misbehave(self, *_: object) -> web.Response:
        said = (
            f"key not allowed to access model. This key can only access models="
            f"['{MODEL}']. Tried to access m3"
        )
        kind = "key_model_access_denied"
        error = {"message": said, "type": kind, "param": "model", "code": "401"}
        return web.json_response({"error": error}, status=401)


async def test_a_model_that_the_key_may_not_use_does_not_stop_the_other_jobs(tmp_path):
    async with a_world(tmp_path, kind=Restricting) as world:
        world.queue(
            [{"custom_id": f"b{n}", "prompt": f"b{n}", "model": "m3"} for n in (1, 2)],
            name="first",
            provider="espai",
            priority=1,
        )
        world.submit(5)
        for number in range(1, 3):
            outcome = await world.run(concurrency=1)
            assert outcome.exit_code == 78
            assert states(world) == {"completed": 5, "pending": 2}
            assert len(world.calls) == 5 + number
        message = outcome.endings["espai"].message
        assert "no request for the model m3 can succeed" in message
