"""What binds calls: a clock that was wrong, a grant, a price."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from allowances import EVERY, configure, day_after
from stage import DAY, MODEL, PATIENCE, Result, Stage

WALLCLOCK = Path(__file__).with_name("wallclock.py")


def daily(stage: Stage, limit: int, more: str = "") -> str:
    return (
        f'name = "daily", limit = {limit}, window = "day", zone = "{stage.zone}"{more}'
    )


def with_a_wrong_clock(stage: Stage, ahead: timedelta, *args: object) -> Result:
    """`quotabatch ARGS`, while the wall clock is set ahead."""
    words = [str(arg) for arg in args]
    done = subprocess.run(
        [sys.executable, str(WALLCLOCK), str(ahead.total_seconds()), *words],
        env=stage.environ(),
        cwd=stage.folder,
        input=b"",
        capture_output=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


# A clock that was wrong


@pytest.mark.fault(43)
@pytest.mark.long
def test_trusting_the_clock_frees_an_account_that_another_time_bound(stage: Stage):
    """For one call the clock was three days ahead; it has been set right since."""
    served = stage.serve(limit=2)
    stage.submit("abcdef")
    wrong = with_a_wrong_clock(stage, 3 * DAY, "run", "--max-calls", "1")
    assert wrong.code == 75, wrong.err
    assert served.count == 1

    # That window lies ahead, and binds until it is over.
    assert stage.run("run").code == 75
    bound = stage.quick("run")
    assert bound.code == 75
    assert served.count == 2

    freed = stage.run("run", "--trust-clock")

    assert freed.code == 75, freed.err
    # What was spent is spent today: no call more.
    assert served.count == 2
    served.standin.next_day()
    tomorrow = stage.run("run", later=DAY)
    assert tomorrow.code == 75, tomorrow.err
    assert served.count == 4
    assert "refused" not in {call.outcome for call in served.calls}


@pytest.mark.fault(42)
@pytest.mark.long
def test_a_clock_that_is_set_ahead_brings_no_call_more(stage: Stage):
    served = stage.serve(limit=2)
    stage.submit("abcdef")
    assert stage.run("run").code == 75
    ahead = with_a_wrong_clock(stage, DAY, "run")
    assert ahead.code == 75, ahead.err
    assert "--trust-clock" in ahead.err
    assert served.count == 2
    assert stage.run("run").code == 75
    assert served.count == 2


# A grant


@pytest.mark.long
def test_nobody_waits_for_a_grant_that_is_used_up(stage: Stage):
    served = stage.serve()
    configure(stage, 'name = "gift", limit = 2, window = "grant"')
    job = stage.submit("abcde")

    done = stage.run("run", "--wait")

    assert done.code == 75, done.err
    assert served.count == 2
    assert "2 of 2" in done.err
    assert "Nothing brings" in done.err
    assert "9999" not in done.err
    assert "9999" not in stage.quick("status").out
    assert "9999" not in stage.quick("quota").out
    assert "9999" not in stage.quick("status", "--json").out
    configure(stage, 'name = "gift", limit = 5, window = "grant"')
    assert stage.run("run", "--wait").code == 0
    assert stage.counts(job) == {"total": 5, "completed": 5}


def test_a_job_that_a_grant_will_never_do_is_told_of_when_it_is_submitted(
    stage: Stage,
):
    stage.serve()
    configure(stage, 'name = "gift", limit = 2, window = "grant"')
    path = stage.write("prompts.txt", "a\nb\nc\n")
    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(3))
    assert done.code == 0
    assert "never" in done.err
    assert "9999" not in done.err


@pytest.mark.parametrize("kind", ["rolls", "begins", "refills", "months"])
@pytest.mark.long
def test_a_run_that_ends_for_want_of_credits_says_when_there_are_more(
    stage: Stage, kind
):
    served = stage.serve()
    configure(stage, f'name = "q", limit = 2, {EVERY[kind]}')
    stage.submit("abcde")
    done = stage.run("run")
    assert done.code == 75
    assert served.count == 2
    assert "2 of 2" in done.err
    assert "exit code 75" in done.err
    assert re.search(r"back \w+ \d+ \w+ \d\d:\d\d", done.err)


@pytest.mark.long
def test_a_price_is_settled_by_the_answers(stage: Stage):
    served = stage.serve(answer=lambda body: "x" * 250)
    configure(
        stage,
        daily(stage, 10),
        more="[profiles.espai.price]\ncall = 0\nanswer_chars = 100",
    )
    job = stage.submit([f"frage {n}" for n in range(9)])

    done = stage.run("run", "--concurrency", 1)

    assert done.code == 75, done.err
    # Three credits an answer; the next is expected to take as many or more.
    assert served.count in (2, 3)
    assert stage.ledger()["used"] == 3 * served.count
    (row,) = stage.quick("status", "--json").json()
    assert (row["credits"], row["attempts"]) == (3 * served.count, served.count)
    assert stage.counts(job)["completed"] == served.count
    assert "250 characters" in stage.quick("quota").out
