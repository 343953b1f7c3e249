"""A PostgreSQL server that loses replies, cuts connections, is started anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machines import Machines
from pgproxy import Proxy
from stage import GateClock, wait_until

#: A few of many in every run of the tests; all of them in the campaigns.
SOME = (7,)
EVERY = [
    pytest.param(number, marks=() if number in SOME else pytest.mark.long)
    for number in range(1, 25)
]


@pytest.mark.fault(55)
@pytest.mark.parametrize("number", EVERY)
@pytest.mark.long
def test_a_commit_whose_reply_is_lost_costs_nothing(machines: Machines, number: int):
    """Whatever it was that had been committed: a claim, an answer, the runner's end."""
    stage = machines.machine()
    served = stage.serve(limit=6, faults={3: "http:503"})
    job = stage.submit([f"frage {n}" for n in range(5)])
    proxy = Proxy(machines.folder / "way", machines.cluster.socket, number)
    way = machines.url.replace(machines.cluster.socket, str(proxy.folder))

    done = stage.run("run", "--db", way, "--concurrency", 2, "--separate-ledger")
    proxy.close()

    if done.code != 0:
        # Before its first call, or after its last, it may end instead.
        assert done.code == 69, done.err
        assert done.err.count("Error: ") == 1
        assert stage.run("run").code == 0
    assert stage.counts(job) == {"total": 5, "completed": 5}
    assert served.count == 6
    assert stage.ledger()["used"] == 6
    machines.holds(served)


def restart(machines: Machines) -> None:
    machines.cluster.restart()


@pytest.mark.fault(55)
@pytest.mark.parametrize("act", [Machines.cut_all, restart], ids=["cut", "restarted"])
@pytest.mark.long
def test_a_run_outlasts_it(machines: Machines, act: Callable[[Machines], None]):
    """Calls in flight go on, and their answers are stored once it is back."""
    stage = machines.machine()
    gate = GateClock(passes=4)
    served = stage.serve(limit=20, clock=gate, latency=1.0)
    job = stage.submit([f"frage {n}" for n in range(12)])
    runs = stage.start("run", "--concurrency", 3)
    wait_until(lambda: served.count == 7, "calls in flight")
    act(machines)
    served.open_gate()
    done = runs.end()

    assert done.code == 0, done.err
    assert "Error" not in done.err
    assert stage.counts(job) == {"total": 12, "completed": 12}
    assert served.count == 12
    machines.holds(served)


@pytest.mark.fault(55)
@pytest.mark.long
def test_connections_that_are_cut_all_the_time_cost_nothing(machines: Machines):
    stage, other = machines.machine(), machines.machine()
    served = stage.serve(limit=100, latency=0.05)
    other.configure(100)
    other.env["QUOTABATCH_BASE_URL"] = served.url
    job = stage.submit([f"frage {n}" for n in range(100)])
    started = [one.start("run", "--concurrency", 3) for one in (stage, other)]
    seen = 0
    while any(one.popen.poll() is None for one in started):
        count = served.count
        if count >= seen + 5:
            machines.cut_all()
            seen = count
        started[0].popen.poll()
    ended = [one.end() for one in started]

    assert {one.code for one in ended} == {0}, [one.err for one in ended]
    assert stage.counts(job) == {"total": 100, "completed": 100}
    assert served.count == 100
    machines.holds(served)


@pytest.mark.long
@pytest.mark.fault(55)
def test_a_server_that_stays_away_ends_the_run_and_keeps_what_is_paid(
    machines: Machines,
):
    """The answer in hand waits beside the home, and the next run takes it in."""
    stage = machines.machine()
    served = stage.serve(limit=10, clock=GateClock(passes=0), latency=1.0)
    job = stage.submit("abcdef")
    runs = stage.start("run", "--concurrency", 1, "--max-pause", 1)
    wait_until(lambda: served.count == 1, "a call")
    machines.cluster.stop()
    try:
        served.open_gate()
        done = runs.end()
        assert done.code == 69, done.err
        assert "cannot be reached" in done.err
        assert "answers in hand: 1" in done.err
        assert served.count == 1
    finally:
        machines.cluster.start()

    again = stage.run("run")

    assert again.code == 0, again.err
    assert sorted(served.prompts) == list("abcdef")
    assert stage.counts(job) == {"total": 6, "completed": 6}
    machines.holds(served)


@pytest.mark.long
@pytest.mark.fault(55)
def test_a_submission_whose_replies_are_lost_is_whole_or_not_there(machines: Machines):
    """It says what is so: a job that others see by now is not taken back."""
    stage = machines.machine()
    rows = stage.write("rows.txt", "a\nb\nc\n")
    number, queued, has_cut = 0, [], True
    while has_cut:
        number += 1
        proxy = Proxy(machines.folder / f"{number}", machines.cluster.socket, number)
        way = machines.url.replace(machines.cluster.socket, str(proxy.folder))
        done = stage.quick("submit", rows, "--model", "m", "--db", way)
        proxy.close()
        has_cut = proxy.has_cut
        if done.code == 0:
            queued.append(int(done.out))
        else:
            assert has_cut
            assert done.code == 69, (number, done.err)
        jobs = stage.quick("status", "--json").json()
        assert sorted(job["job"] for job in jobs) == queued, (number, done.err)
        assert {job["counts"]["total"] for job in jobs} <= {3}
    # Undisturbed, and with the reply to its very publication lost.
    assert len(queued) >= 2
