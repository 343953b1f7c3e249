from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import config
from batch.service import work
from batch.service.context import Service
from batch.store import clocks
from batch.timekeeper import AGREEMENT, TOLERANCE, Timekeeper

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Clocks:
    """A machine's clocks, each of which a test can move; and the time that it is."""

    truth: datetime = START
    #: How far the wall clock is from the truth.
    off: timedelta = timedelta(0)
    awake: timedelta = timedelta(seconds=500)
    booted: timedelta = timedelta(seconds=1000)
    name: str = "boot-0"

    def now(self) -> datetime:
        return self.truth + self.off

    def monotonic(self) -> float:
        return self.awake.total_seconds()

    def boot(self) -> float:
        return self.booted.total_seconds()

    def boot_id(self) -> str:
        return self.name

    async def sleep(self, seconds: float) -> None:
        self.go_on(timedelta(seconds=seconds))

    # What may happen to it.

    def go_on(self, stretch: timedelta) -> None:
        self.truth += stretch
        self.awake += stretch
        self.booted += stretch

    def suspend(self, stretch: timedelta) -> None:
        """It sleeps: the time since its start goes on, the monotonic one need not."""
        self.truth += stretch
        self.booted += stretch

    def step(self, stretch: timedelta) -> None:
        """Somebody, or something, sets the wall clock."""
        self.off += stretch

    def start_anew(self, name: str, after: timedelta = HOUR) -> None:
        self.truth += after
        self.awake = self.booted = timedelta(seconds=20)
        self.name = name


# One process


def test_a_clock_that_goes_on_is_believed():
    machine = Clocks()
    keeper = Timekeeper(machine)
    for _ in range(100):
        machine.go_on(37 * MINUTE)
        assert keeper.now() == machine.truth
        assert keeper.step is None
        assert not keeper.is_in_question


@pytest.mark.parametrize("jump", [DAY, -DAY, HOUR, 31 * SECOND, -31 * SECOND])
@pytest.mark.fault(42, 43)
def test_a_step_is_not_believed_and_the_time_goes_on(jump):
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.go_on(HOUR)
    machine.step(jump)
    assert keeper.step == jump
    assert keeper.now() == machine.truth
    machine.go_on(3 * HOUR)
    assert keeper.now() == machine.truth


@pytest.mark.parametrize("seconds", [-30, -5, 0, 1, 29, 30])
def test_a_small_correction_raises_no_question_and_moves_nothing(seconds):
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(seconds * SECOND)
    assert keeper.step is None
    assert keeper.now() == machine.truth


def test_a_reply_proves_the_time_of_its_call_and_not_that_of_its_end():
    """A machine that is paused during a call receives a date that is near its end."""
    machine = Clocks()
    keeper = Timekeeper(machine)
    keeper.weigh(START + SECOND, START)
    assert keeper.proven_at == START
    assert keeper.is_proven
    called_at = keeper.now()
    machine.go_on(10 * MINUTE)
    keeper.weigh(called_at + 10 * MINUTE, called_at)
    assert not keeper.is_proven
    # The next one's call was made after that one ended; a reply without a date is none.
    machine.go_on(MINUTE)
    keeper.weigh(keeper.now(), keeper.now())
    assert keeper.is_proven
    machine.go_on(MINUTE)
    keeper.weigh(None, keeper.now())
    assert not keeper.is_proven
    assert keeper.proven_at == START + 11 * MINUTE


@pytest.mark.parametrize("seconds", [-29, -3, 3, 29])
def test_a_small_correction_is_followed_where_the_endpoint_tells_that_time(seconds):
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(seconds * SECOND)
    assert keeper.wants_time
    # The date of an answer may be as old as its call; and this one confirms nothing.
    keeper.hear(machine.now())
    keeper.hear(machine.truth, asked=True)
    keeper.hear(machine.now() + 4 * SECOND, asked=True)
    assert keeper.now() == machine.truth
    assert not keeper.has_news
    keeper.hear(machine.now().replace(microsecond=0), asked=True)
    assert abs(keeper.now() - machine.now()) < SECOND
    assert keeper.has_news
    assert not keeper.wants_time


def test_a_clock_that_drifts_slowly_raises_a_question_after_thirty_seconds():
    machine = Clocks()
    keeper = Timekeeper(machine)
    for _ in range(30):
        machine.go_on(HOUR)
        machine.step(SECOND)
        assert keeper.now() == machine.truth
        assert not keeper.is_in_question
    machine.step(SECOND)
    assert keeper.step == 31 * SECOND
    assert keeper.now() == machine.truth


@pytest.mark.parametrize("asleep", [MINUTE, 8 * HOUR, 20 * DAY])
def test_a_machine_that_slept_has_not_stepped(asleep):
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.suspend(asleep)
    assert keeper.step is None
    assert keeper.now() == machine.truth


def test_a_step_while_the_machine_slept_is_not_believed():
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.suspend(8 * HOUR)
    machine.step(DAY)
    assert keeper.now() == machine.truth


def test_a_step_that_is_taken_back_is_none():
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(DAY)
    assert keeper.is_in_question
    machine.go_on(HOUR)
    machine.step(-DAY)
    assert keeper.step is None
    assert keeper.now() == machine.now() == machine.truth


def test_the_endpoints_clock_confirms_a_step():
    """The wall clock had been wrong all the time, and was set right."""
    machine = Clocks(off=-DAY)
    keeper = Timekeeper(machine)
    machine.step(DAY)
    assert keeper.now() == machine.truth - DAY
    assert keeper.hear(machine.truth + 20 * SECOND)
    assert keeper.step is None
    assert keeper.now() == machine.now() == machine.truth
    machine.go_on(HOUR)
    assert keeper.now() == machine.truth


@pytest.mark.parametrize("jump", [DAY, -DAY, 5 * MINUTE])
def test_an_endpoint_that_does_not_agree_confirms_nothing(jump):
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(jump)
    assert not keeper.hear(machine.truth)
    assert keeper.now() == machine.truth
    assert keeper.step == jump


def test_an_endpoint_that_has_nothing_to_confirm_changes_nothing():
    machine = Clocks()
    keeper = Timekeeper(machine)
    for off in (timedelta(0), 10 * SECOND, DAY, -400 * DAY):
        assert not keeper.hear(machine.truth + off)
        assert keeper.now() == machine.truth


def test_the_user_may_say_that_the_clock_is_right():
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(DAY)
    keeper.believe()
    assert keeper.step is None
    assert keeper.now() == machine.now()
    machine.step(-DAY)
    assert keeper.step == -DAY


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("go on"), st.integers(0, 90_000)),
            st.tuples(st.just("sleep"), st.integers(0, 90_000)),
            st.tuples(st.just("step"), st.integers(-90_000, 90_000)),
            st.tuples(st.just("step"), st.integers(-20, 20)),
            # By an endpoint that says what it is, give or take.
            st.tuples(st.just("hear"), st.integers(-20, 20)),
            st.tuples(st.just("ask"), st.integers(-20, 20)),
        ),
        max_size=25,
    )
)
@pytest.mark.fault(42, 43)
def test_the_time_is_never_further_off_than_tolerance_and_agreement_allow(story):
    """Whatever happens to the wall clock, as long as nobody says that it is right."""
    machine = Clocks()
    keeper = Timekeeper(machine)
    for what, seconds in story:
        stretch = seconds * SECOND
        match what:
            case "go on":
                machine.go_on(stretch)
            case "sleep":
                machine.suspend(stretch)
            case "step":
                machine.step(stretch)
            case "hear" | "ask":
                keeper.hear(machine.truth + stretch, asked=what == "ask")
        allowed = AGREEMENT + 20 * SECOND + TOLERANCE
        assert abs(keeper.now() - machine.truth) <= allowed


@given(st.lists(st.integers(-90_000, 90_000), max_size=20))
@pytest.mark.fault(42, 43)
def test_without_an_endpoint_no_steps_move_the_time_by_more_than_the_tolerance(steps):
    machine = Clocks()
    keeper = Timekeeper(machine)
    for seconds in steps:
        machine.step(seconds * SECOND)
        machine.go_on(HOUR)
        assert abs(keeper.now() - machine.truth) <= TOLERANCE


async def test_what_is_no_wall_time_is_the_machines_own():
    machine = Clocks()
    keeper = Timekeeper(machine)
    machine.step(DAY)
    await keeper.sleep(60)
    assert (keeper.monotonic(), keeper.boot()) == (560.0, 1060.0)
    assert keeper.boot_id() == "boot-0"


# A doubtful clock


def test_a_doubtful_clock_goes_by_the_endpoints():
    machine = Clocks(off=DAY)
    keeper = Timekeeper(machine, is_doubtful=True)
    assert keeper.is_in_question
    assert keeper.now() == machine.now()
    keeper.hear(machine.truth)
    assert keeper.now() == machine.truth
    assert keeper.step == DAY
    machine.go_on(HOUR)
    assert keeper.now() == machine.truth


def test_a_doubtful_clock_goes_on_from_the_newest_time_in_the_ledger():
    machine = Clocks(off=-DAY)
    keeper = Timekeeper(machine, newest=machine.truth, is_doubtful=True)
    machine.go_on(HOUR)
    assert keeper.now() == machine.truth
    assert keeper.is_by_ledger
    # Both clocks agree: the ledger's time was wrong.
    keeper.hear(machine.now())
    assert keeper.now() == machine.now()
    assert not keeper.is_in_question


@pytest.mark.parametrize("behind", [timedelta(0), DAY])
def test_a_ledger_that_is_behind_says_nothing(behind):
    machine = Clocks()
    keeper = Timekeeper(machine, newest=machine.now() - behind, is_doubtful=True)
    assert keeper.now() == machine.now()


def test_a_doubtful_clock_that_agrees_is_believed():
    machine = Clocks(off=15 * SECOND)
    keeper = Timekeeper(machine, is_doubtful=True)
    keeper.hear(machine.truth)
    assert not keeper.is_in_question
    assert keeper.now() == machine.now()


def test_a_doubt_is_settled_by_the_first_word():
    machine = Clocks()
    keeper = Timekeeper(machine, is_doubtful=True)
    keeper.hear(machine.truth)
    assert not keeper.hear(machine.truth + 5 * DAY)
    assert keeper.now() == machine.truth


def test_the_user_settles_a_doubt_too():
    machine = Clocks(off=DAY)
    keeper = Timekeeper(machine, is_doubtful=True)
    keeper.believe()
    assert not keeper.is_in_question
    assert not keeper.hear(machine.truth)
    assert keeper.now() == machine.now()


# From one process to the next


@contextmanager
def a_process(home: Path, machine: Clocks) -> Iterator[Service]:
    with Service(config.load({"QUOTABATCH_HOME": str(home)}), machine) as service:
        yield service


def remember(service: Service) -> None:
    """As a run does that believes the clock."""
    time = service.time
    with service.database.transaction() as connection:
        start = clocks.Start(time.booted_at, confirmed=True)
        clocks.believe(connection, time.boot_id(), start, time.now())


def test_the_first_process_of_all_asks_before_it_believes_its_clock(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        assert service.time.is_in_question
        assert service.time.now() == machine.now()
        service.time.hear(machine.now() + HOUR)
        assert not service.time.is_doubtful
        assert service.time.now() == machine.now() + HOUR


def test_a_step_between_two_processes_is_not_believed(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        remember(service)
    machine.go_on(HOUR)
    machine.step(DAY)
    with a_process(tmp_path, machine) as service:
        assert service.time.step == DAY
        assert abs(service.time.now() - machine.truth) < SECOND


def test_a_machine_that_slept_between_two_processes_has_not_stepped(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        remember(service)
    machine.suspend(5 * DAY)
    with a_process(tmp_path, machine) as service:
        assert not service.time.is_in_question
        assert service.time.now() == machine.truth


def test_after_a_new_start_the_clock_is_in_doubt(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        remember(service)
    machine.start_anew("boot-1")
    machine.step(DAY)
    with a_process(tmp_path, machine) as service:
        assert service.time.is_doubtful
        service.time.hear(machine.truth)
        assert service.time.now() == machine.truth
        remember(service)
    # What was found out is remembered.
    machine.go_on(HOUR)
    with a_process(tmp_path, machine) as service:
        assert service.time.step is not None
        assert abs(service.time.now() - machine.truth) < SECOND


def test_where_starts_have_no_names_a_new_one_is_noticed_all_the_same(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        machine.go_on(DAY)
        remember(service)
    machine.start_anew("boot-0")
    with a_process(tmp_path, machine) as service:
        assert service.time.is_doubtful


def test_two_machines_on_one_database_do_not_disturb_each_other(tmp_path):
    """Their clocks are compared with their own past, by the name of their start."""
    here, there = Clocks(), Clocks(name="another", booted=90 * DAY)
    for machine in (here, there, here, there):
        with a_process(tmp_path, machine) as service:
            service.time.hear(machine.truth)
            remember(service)
            machine.go_on(HOUR)
            assert not service.time.is_in_question
            assert service.time.now() == machine.truth


def test_a_clock_that_the_user_trusts_is_remembered(tmp_path):
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        remember(service)
    machine.step(DAY)
    with a_process(tmp_path, machine) as service:
        work.trust_clock(service)
        assert service.time.now() == machine.now()
    with a_process(tmp_path, machine) as service:
        assert not service.time.is_in_question
        assert service.time.now() == machine.now()


def test_looking_remembers_nothing(tmp_path):
    """A doubt is not settled by a command that only looks."""
    machine = Clocks()
    with a_process(tmp_path, machine) as service:
        remember(service)
    machine.start_anew("boot-1")
    for _ in range(2):
        with a_process(tmp_path, machine) as service:
            assert service.time.is_doubtful
            assert service.database.read(clocks.seen, "boot-1", 20.0) is None
