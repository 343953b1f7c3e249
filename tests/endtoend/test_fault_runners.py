"""Several runners, several databases, one key: together they spend the limit, once."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from stage import MODEL, GateClock, Stage, wait_until
from truth import all_answered, database, holds, plain


@pytest.mark.long
@pytest.mark.fault(16)
def test_eight_runners_on_one_queue_spend_exactly_the_limit(stage: Stage):
    """Sixty prompts, twenty credits: one call each for the first twenty."""
    served = stage.serve(limit=20, latency=0.02)
    stage.submit([f"frage {n}" for n in range(60)])

    ended = [one.end() for one in [stage.start("run") for _ in range(8)]]

    assert [one.code for one in ended] == [75] * 8, [one.err for one in ended]
    assert served.count == 20
    found = holds(stage, served)
    assert (len(found.answered), found.spent, found.unknown) == (20, 20, 0)
    assert max(Counter(served.prompts).values()) == 1


@pytest.mark.long
@pytest.mark.fault(3, 16)
def test_runners_that_are_killed_beside_others_do_not_exceed_the_limit(stage: Stage):
    """What a killed one had in flight is spent; the others take its work over."""
    limit, each = 20, 3
    served = stage.serve(limit=limit, latency=1, clock=GateClock(passes=0))
    stage.submit([f"frage {n}" for n in range(60)])
    doomed = []
    for n in range(each):
        doomed.append(stage.start("run"))
        wait_until(lambda at=n: served.count == at + 1, "its first call")
    for one in doomed:
        one.kill()
    served.open_gate()

    ended = [one.end() for one in [stage.start("run") for _ in range(4)]]

    assert [one.code for one in ended] == [75] * 4, [one.err for one in ended]
    assert served.count == limit
    found = holds(stage, served)
    assert (len(found.answered), found.spent, found.unknown) == (
        limit - each,
        limit,
        each,
    )


@pytest.mark.fault(17)
@pytest.mark.long
def test_a_second_database_with_the_same_key_is_refused_with_both_named(stage: Stage):
    served = stage.serve(limit=3)
    stage.submit(["eins", "zwei"])
    assert stage.quick("run").code == 0
    other = stage.folder / "other.db"
    rows = stage.write("more.txt", "drei\nvier\n")
    words = ("--db", other)
    assert stage.quick("submit", rows, "--model", MODEL, *words).code == 0

    message = plain(stage.quick("run", *words))

    assert str(other) in message
    assert str(database(stage)) in message
    assert served.count == 2
    # Who says that it is meant has a second ledger; the endpoint's word is the last.
    meant = stage.quick("run", *words, "--separate-ledger")
    assert meant.code == 75, meant.err
    assert [call.outcome for call in served.calls] == ["answered"] * 3 + ["refused"]


@pytest.mark.fault(18)
@pytest.mark.long
def test_without_its_ledger_a_day_ends_at_the_endpoints_first_refusal(stage: Stage):
    """A ledger that was deleted is not covered; the day is not burnt all the same."""
    served = stage.serve(limit=3)
    stage.submit([f"frage {n}" for n in range(3)])
    assert stage.quick("run").code == 0
    for path in stage.home.glob("quotabatch.db*"):
        if path.is_file():
            path.unlink()
    stage.submit([f"noch eine {n}" for n in range(8)])

    done = stage.quick("run")

    assert done.code == 75, done.err
    assert "says that nothing is left" in done.err
    assert [call.outcome for call in served.calls] == ["answered"] * 3 + ["refused"]
    again = stage.quick("run")
    assert again.code == 75
    assert served.count == 4


@pytest.mark.fault(21)
@pytest.mark.long
def test_a_call_that_was_slept_through_is_spent_and_made_again(stage: Stage):
    """Nobody takes over from a runner that is stopped; the call's time runs out."""
    served = stage.serve(latency=1, clock=GateClock(passes=0))
    stage.submit(["eins", "zwei", "drei"])
    words = ("run", "--timeout", 1, "--max-calls", 2)
    sleeper = stage.start(*words)
    wait_until(lambda: served.count == 1, "its call")
    sleeper.signal(signal.SIGSTOP)

    # Another one asks, waits as long, and gives up: so much time has passed.
    beside = stage.quick("run", "--timeout", 1, "--max-calls", 1)

    assert "outcome is unknown" not in beside.err
    assert served.prompts == ["eins", "zwei"]
    found = holds(stage, served)
    assert (found.rows[0].state, found.unknown) == ("running", 1)
    sleeper.signal(signal.SIGCONT)
    wait_until(lambda: served.count == 3, "the same call once more")
    served.open_gate()
    sleeper.end()
    found = holds(stage, served)
    assert found.unknown == 0
    assert stage.quick("run").code == 0
    found = holds(stage, served)
    all_answered(stage, served, found)
    assert served.count == found.spent == 5
    assert Counter(served.prompts) == {"eins": 2, "zwei": 2, "drei": 1}
