"""A wall clock that jumps, and one that is wrong from the start."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from clockwork import NOON
from looking_out import HOUR, LONG, evidence
from telling import DAY, a_telling_world, another_process, the_machine_starts_anew
from world import World

from batch.core.model import Completion
from batch.runner.outlook import Outlook
from batch.service import upkeep, work


def jump(world: World, by: timedelta) -> None:
    world.clock.off += by


def steps_told(world: World) -> list[str]:
    return [note for note in world.notes if "This machine's clock" in note]


# A wall clock that jumps


def test_the_clocks_are_compared_ten_times_a_second_however_many_replies_come():
    """And at each reply, where they come more slowly than that."""

    class Keeper:
        now = 1000.0
        compared = 0

        def boot(self) -> float:
            return self.now

        @property
        def is_in_question(self) -> bool:
            self.compared += 1
            return False

        def weigh(self, date: None, reserved_at: object) -> None:
            assert date is None

    keeper: Any = Keeper()
    nobody: Any = None
    claim: Any = SimpleNamespace(reserved_at=NOON)
    outlook = Outlook(nobody, (), nobody, keeper, "espai", nobody)
    done = Completion(text="a", finish_reason="stop", headers={"date": "Mon"})
    for seconds, compared in [(0.0, 1), (0.05, 1), (0.11, 2), (0.15, 2), (9.0, 3)]:
        keeper.now = 1000.0 + seconds
        for _ in range(100):
            assert outlook.heard(claim, done) == []
        assert keeper.compared == compared
    # No clock of the kind goes back; one that does is not waited for.
    keeper.now = 5.0
    outlook.heard(claim, done)
    assert keeper.compared == 4


@pytest.mark.parametrize("by", [DAY, -DAY, 40 * DAY, 366 * DAY, HOUR * 13], ids=str)
@pytest.mark.fault(42, 43)
async def test_a_clock_that_jumps_in_mid_run_brings_no_call_more(tmp_path, by):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        world.on_call[2] = lambda: jump(world, by)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert world.by_day() == {"2026-03-02": 5}
        assert len(world.calls) == 5
        assert len(steps_told(world)) == 1
        assert "--trust-clock" in steps_told(world)[0]
        assert evidence(world).count("clock") == 1


@pytest.mark.fault(42)
async def test_a_run_after_the_jump_makes_no_call_either(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        world.on_call[2] = lambda: jump(world, DAY)
        await world.run()
        for _ in range(2):
            another_process(world)
            assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 5


@pytest.mark.fault(42)
async def test_a_clock_that_jumps_between_two_runs_brings_no_call_more(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        await world.run()
        jump(world, DAY)
        another_process(world)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert len(world.calls) == 5
        assert len(steps_told(world)) == 1


@pytest.mark.fault(42, 43)
async def test_the_days_of_a_long_run_are_the_services_though_the_clock_is_wrong(
    tmp_path,
):
    async with a_telling_world(tmp_path, limit=4, nap=LONG) as world:
        world.submit(14)
        world.on_call[2] = lambda: jump(world, DAY)
        world.on_call[7] = lambda: jump(world, -3 * DAY)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert list(world.by_day().values()) == [4, 4, 4, 2]
        assert "refused" not in {call.outcome for call in world.calls}
        # Once for each jump, however long the run goes on.
        assert len(steps_told(world)) == 2


async def test_a_jump_that_the_services_clock_confirms_is_gone_by(tmp_path):
    """The machine's clock was a day behind, and is set right."""
    async with a_telling_world(tmp_path, limit=5) as world:
        world.clock.off = -DAY
        world.submit(20)
        world.on_call[2] = lambda: jump(world, DAY)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        # Five of the day that it was taken for, and those of the day that it is.
        assert not any("jumped" in note for note in world.notes)
        assert world.by_day() == {"2026-03-02": 5}
        assert world.used()["2026-03-02"] >= 2


async def test_a_service_that_comes_round_is_believed_and_the_user_is_told(tmp_path):
    async with a_telling_world(tmp_path, limit=50) as world:
        standin, clock = world.standin, world.clock
        world.submit(20)
        world.on_call[2] = lambda: jump(world, DAY)

        def come_round() -> None:
            standin.says = clock.now

        world.on_call[8] = come_round
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 0
        assert len(steps_told(world)) == 1
        assert [note for note in world.notes if "agrees" in note] == world.notes[1:]


@pytest.mark.fault(42)
async def test_without_a_word_of_the_service_a_jump_is_not_believed(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.standin.says = None
        world.submit(20)
        world.on_call[2] = lambda: jump(world, DAY)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 5
        assert len(steps_told(world)) == 1


async def test_a_machine_that_slept_tells_nothing(tmp_path):
    async with a_telling_world(tmp_path, limit=5, nap=LONG) as world:
        world.submit(8)

        def sleep() -> None:
            world.clock.time += 3 * HOUR

        world.on_call[2] = sleep
        assert (await world.run(wait=True)).exit_code == 0
        world.check()
        assert world.notes == []


async def test_a_small_correction_tells_nothing(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(8)
        world.on_call[2] = lambda: jump(world, timedelta(seconds=29))
        assert (await world.run()).exit_code == 75
        world.check()
        assert world.notes == []


async def test_the_user_may_say_that_the_clock_is_right(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        await world.run()
        jump(world, DAY)
        # The service sees it so, but has no Date to say it with.
        world.standin.shift = DAY
        world.standin.says = None
        another_process(world)
        work.trust_clock(world.service)
        assert (await world.run()).exit_code == 75
        world.check()
        assert world.by_day() == {"2026-03-02": 5, "2026-03-03": 5}
        assert steps_told(world) == []


def pause(world: World, by: timedelta) -> None:
    """The machine is a virtual one, and was paused: none of its clocks went on."""
    jump(world, by)
    world.standin.shift += by
    world.standin.says = lambda: world.clock.now()


async def test_a_machine_that_was_paused_over_night_has_the_new_day_to_itself(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        for _ in range(3):
            assert (await world.run()).exit_code == 75
            pause(world, DAY)
            another_process(world)
        world.check()
        assert list(world.by_day().values()) == [5, 5, 5]


@pytest.mark.parametrize("calls", [1, 2, 4, 5])
async def test_calls_made_before_the_pause_is_noticed_count_in_the_new_day(
    tmp_path, calls
):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)

        def resume_in_silence() -> None:
            pause(world, DAY)
            world.standin.says = None

        world.on_call[calls] = resume_in_silence
        assert (await world.run()).exit_code == 75
        world.standin.says = lambda: world.clock.now()
        another_process(world)
        assert (await world.run()).exit_code == 75
        world.check()


@pytest.mark.parametrize("in_mid_run", [False, True])
async def test_calls_made_before_the_clocks_of_a_resumed_machine_are_set_count_once(
    tmp_path, in_mid_run
):
    """Until then they agree with each other, and only the endpoint tells the time."""
    async with a_telling_world(tmp_path, limit=5) as world:
        # The service would not refuse a call too many.
        world.standin.limit = None
        world.submit(30)

        def resume() -> None:
            world.standin.clock.off += DAY

        if in_mid_run:
            world.on_call[2] = resume
            await world.run(max_calls=3, concurrency=1)
        else:
            await world.run(max_calls=1)
            # Nobody is paused within the millisecond of a call.
            await world.clock.sleep(1)
            resume()
        another_process(world)
        await world.run()
        jump(world, DAY)
        another_process(world)
        await world.run()
        # Of three calls at one moment nobody knows which were made before the pause.
        days = (2, 3) if in_mid_run else (1, 5)
        assert tuple(world.by_day().values()) == days


async def test_what_a_slow_clock_put_in_the_minute_before_counts_once_it_is_set(
    tmp_path,
):
    quotas = '[{ name = "minute", limit = 5, window = "minute" }]'
    config = f"[profiles.espai]\nquotas = {quotas}\n"
    start = NOON + timedelta(seconds=62)
    async with a_telling_world(tmp_path, start=start, config_toml=config) as world:
        world.standin.limit = None
        jump(world, timedelta(seconds=-25))
        world.submit(30)
        await world.run(max_calls=5)
        jump(world, timedelta(seconds=25))
        another_process(world)
        await world.run(max_calls=5, max_pause=0.0)
        minutes = Counter(call.at.minute for call in world.calls)
        assert max(minutes.values()) == 5


# A machine that starts anew, with a clock that is wrong


async def test_after_a_new_start_the_services_clock_is_gone_by(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        await world.run()
        jump(world, DAY)
        the_machine_starts_anew(world)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert len(world.calls) == 5


async def test_a_clock_that_is_wrong_is_told_of_alike_by_every_run_and_noted_once(
    tmp_path,
):
    async with a_telling_world(tmp_path, limit=20) as world:
        jump(world, -DAY)
        world.submit(8)
        for _ in range(3):
            await world.run(max_calls=2)
            another_process(world)
        world.check()
        facts = {note.partition(":")[0] for note in steps_told(world)}
        assert facts == {"This machine's clock is 24 h behind the endpoint's"}
        assert len(steps_told(world)) == 3
        assert evidence(world) == ["clock"]


async def test_after_a_new_start_a_clock_that_is_right_goes_on(tmp_path):
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(9)
        await world.run()
        world.clock.time += DAY
        the_machine_starts_anew(world)
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.notes == []


async def test_a_doubt_outlives_a_run_that_heard_nothing(tmp_path):
    """The first run after the start had no network; the second one has."""
    async with a_telling_world(tmp_path, limit=5) as world:
        world.submit(20)
        await world.run()
        says, world.standin.says = world.standin.says, None
        jump(world, DAY)
        the_machine_starts_anew(world)
        await world.run(max_calls=0)
        world.standin.says = says
        another_process(world)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 5


@pytest.mark.parametrize("told", ["its Date", "a clock set right", "the user"])
async def test_what_was_recorded_by_a_slow_clock_counts_once_it_is_corrected(
    tmp_path, told
):
    async with a_telling_world(tmp_path, limit=5) as world:
        jump(world, -DAY)
        upkeep.record(world.service, 3, None)
        another_process(world)
        upkeep.record(world.service, 1, None)
        if told != "its Date":
            jump(world, DAY)
        another_process(world)
        if told == "the user":
            work.trust_clock(world.service)
        world.submit(20)
        assert (await world.run()).exit_code == 75
        world.check()
        assert len(world.calls) == 1
        # By the next day there is nothing left of it.
        world.clock.time += DAY
        another_process(world)
        await world.run()
        assert len(world.calls) == 1 + 5


# What an endpoint says that is wrong at first, and machines that do not name boots


@pytest.mark.parametrize("stale", [DAY, 13 * HOUR, 40 * DAY], ids=str)
@pytest.mark.parametrize("calls", [2, 4, 5])
@pytest.mark.fault(42)
async def test_a_stale_date_and_then_a_right_one_bring_no_call_more(
    tmp_path, stale, calls
):
    """The first page came out of a cache, and did not say how old it was."""
    async with a_telling_world(tmp_path, limit=5) as world:
        standin, clock = world.standin, world.clock
        standin.says = lambda: clock.time - stale
        world.submit(20)

        def tell_the_truth() -> None:
            standin.says = lambda: clock.time

        world.on_call[calls] = tell_the_truth
        for _ in range(3):
            assert (await world.run(concurrency=2)).exit_code == 75
            another_process(world)
        world.check()
        assert world.by_day() == {"2026-03-02": 5}
        # Nor was one refused.
        assert len(world.calls) == 5


@pytest.mark.parametrize("tells", [True, False])
async def test_where_boots_have_no_names_the_next_day_gets_its_calls(tmp_path, tells):
    """A restart is no clock that stepped: the machine has been up for less."""
    async with a_telling_world(tmp_path, limit=5) as world:
        says = world.standin.says if tells else None
        world.standin.says = says
        world.submit(12)
        world.clock.time += 5 * HOUR
        await world.run()
        stamps = world.query("SELECT id, reserved_at, settled_at FROM entries")
        world.clock.time += 22 * HOUR
        world.clock.up_since = world.clock.monotonic()
        world.standin.says = None
        another_process(world)
        assert abs(world.service.time.now() - world.clock.time) < timedelta(seconds=1)
        await world.run()
        world.check()
        assert world.by_day() == {"2026-03-02": 5, "2026-03-03": 5}
        assert steps_told(world) == []
        after = world.query("SELECT id, reserved_at, settled_at FROM entries")
        assert after[: len(stamps)] == stamps


@pytest.mark.parametrize("told", ["its Date", "the user"])
async def test_a_ledger_that_is_ahead_is_gone_by_until_somebody_says_otherwise(
    tmp_path, told
):
    """The clock was ahead by days, and was set right while the machine was down."""
    async with a_telling_world(tmp_path, limit=5) as world:
        says, world.standin.says = world.standin.says, None
        jump(world, 3 * DAY)
        the_machine_starts_anew(world)
        world.submit(20)
        await world.run(max_calls=2)
        jump(world, -3 * DAY)
        the_machine_starts_anew(world)
        assert world.service.time.now() - world.clock.time == 3 * DAY
        await world.run(max_calls=1)
        (note,) = world.notes
        assert "72 h behind the newest call in the ledger" in note
        another_process(world)
        if told == "the user":
            work.trust_clock(world.service)
        else:
            world.standin.says = says
        assert (await world.run()).exit_code == 75
        world.check()
        assert world.by_day() == {"2026-03-02": 5}
        world.clock.time += DAY
        another_process(world)
        assert (await world.run()).exit_code == 75
        world.check()
        assert world.by_day() == {"2026-03-02": 5, "2026-03-03": 5}
