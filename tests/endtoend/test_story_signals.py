"""Signals: the first lets the calls in flight come home, the second does not wait."""

from __future__ import annotations

import signal

import pytest
from stage import GateClock, Stage, wait_until

NOTE = "Finishing the calls in flight"


def in_flight(stage: Stage):
    """A run with three answers and four calls in flight."""
    served = stage.serve(latency=1, clock=GateClock(passes=3))
    stage.submit([f"frage {n}" for n in range(1, 21)])
    running = stage.start("run", "--concurrency", 4)
    wait_until(lambda: served.count == 7, "three answers and four calls in flight")
    return served, running


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long),
    ],
)
@pytest.mark.fault(47)
def test_the_first_signal_keeps_the_answers_in_flight(stage: Stage, number, code):
    served, running = in_flight(stage)

    running.signal(number)
    running.says(NOTE)
    served.open_gate()
    done = running.end()

    assert done.code == code
    assert done.out == ""
    assert "Traceback" not in done.err
    assert served.count == 7
    results = stage.export(1)
    assert [one["completion"] for one in results[:7]] == [
        served.answer_to(f"frage {n}") for n in range(1, 8)
    ]
    assert [one["status"] for one in results[7:]] == ["pending"] * 13
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"]) == (7, 0)


@pytest.mark.fault(47)
@pytest.mark.long
def test_the_second_signal_gives_up_what_is_in_flight(stage: Stage):
    served, running = in_flight(stage)

    running.signal(signal.SIGINT)
    running.says(NOTE)
    running.signal(signal.SIGINT)
    # The gate is closed still: it cannot have waited for an answer.
    done = running.end(timeout=10)

    assert done.code == 130
    assert "4 calls in flight" in done.err
    assert "4, 5, 6, 7" in done.err
    assert "Traceback" not in done.err
    assert served.count == 7
    assert stage.counts() == {"total": 20, "completed": 3, "pending": 17}
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"]) == (7, 0)

    served.open_gate()
    assert stage.quick("run").code == 0
    assert served.count == 20 + 4


@pytest.mark.fault(47)
@pytest.mark.long
def test_a_run_that_sleeps_until_the_reset_can_be_interrupted(stage: Stage):
    served = stage.serve(limit=1)
    stage.submit(["eins", "zwei"])
    running = stage.start("run", "--wait")
    wait_until(lambda: served.count == 1, "the only call of the day")
    wait_until(lambda: stage.counts().get("completed") == 1, "its answer")

    running.signal(signal.SIGTERM)
    done = running.end(timeout=10)

    assert done.code == 143
    assert served.count == 1


@pytest.mark.fault(21)
@pytest.mark.long
def test_a_stopped_run_is_not_taken_for_a_dead_one(stage: Stage):
    served, running = in_flight(stage)
    running.signal(signal.SIGSTOP)
    served.open_gate()

    beside = stage.start("run")
    # It asks what the other has not claimed, and waits for the rest.
    wait_until(lambda: stage.counts().get("completed") == 16, "the answers beside")
    assert served.count == 20
    assert stage.counts()["running"] == 4

    running.signal(signal.SIGCONT)
    ended = [running.end(), beside.end()]
    assert [one.code for one in ended] == [0, 0]
    assert all("outcome is unknown" not in one.err for one in ended)
    assert served.count == 20
    assert stage.counts() == {"total": 20, "completed": 20}
