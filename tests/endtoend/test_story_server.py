"""The main job on a PostgreSQL server, from several machines."""

from __future__ import annotations

import signal

import pytest
from machines import Machines
from stage import DAY, GateClock, wait_until

from batch.store.postgres import LEASE


def prompts(number: int) -> list[str]:
    return [f"问题 {n}" for n in range(1, number + 1)]


@pytest.mark.long
def test_sixty_rows_take_three_days_of_twenty(machines: Machines):
    stage = machines.machine()
    served = stage.serve(limit=20)
    job = stage.submit(prompts(60))
    rights = [served.answer_to(one) for one in prompts(60)]

    first = stage.run("run")

    assert first.code == 75, first.err
    assert "20 of 20" in first.err
    assert served.count == 20
    assert stage.run("run").code == 75
    assert served.count == 20
    for day in (2, 3):
        # The server's clock alone: this machine's stays where it is.
        machines.pass_time(DAY)
        served.standin.next_day()
        done = stage.run("run")
        assert done.code == (75 if day == 2 else 0), done.err
        assert served.count == 20 * day
    assert [one["completion"] for one in stage.export(job)] == rights
    assert sorted(served.prompts) == sorted(prompts(60))
    machines.holds(served)


@pytest.mark.long
def test_four_machines_on_one_queue_spend_exactly_the_limit(machines: Machines):
    first = machines.machine()
    served = first.serve(limit=50, latency=0.01)
    job = first.submit(prompts(120))
    others = [machines.machine(served) for _ in range(3)]

    started = [one.start("run", "--concurrency", 4) for one in (first, *others)]
    ended = [process.end() for process in started]

    assert [one.code for one in ended] == [75] * 4, [one.err for one in ended]
    assert served.count == 50
    assert len(set(served.prompts)) == 50
    counts = {"total": 120, "completed": 50, "pending": 70}
    assert [one.counts(job) for one in (first, *others)] == [counts] * 4
    machines.holds(served)


@pytest.mark.fault(57)
@pytest.mark.long
def test_the_work_of_a_machine_that_died_is_taken_over_after_its_lease(
    machines: Machines,
):
    lost, other = machines.machine(), machines.machine()
    gate = GateClock(passes=3)
    served = lost.serve(limit=20, clock=gate, latency=1.0)
    other.configure(20)
    other.env["QUOTABATCH_BASE_URL"] = served.url
    job = lost.submit(prompts(6))
    runs = lost.start("run", "--concurrency", 3)
    wait_until(lambda: served.count == 6, "calls in flight")
    runs.kill()
    served.open_gate()

    # While its lease lasts, nobody knows that it is gone: the other waits for it.
    waits = other.start("run")
    wait_until(lambda: "at work" not in waits.err and _is_waiting(machines), "a look")
    assert served.count == 6
    machines.pass_time(LEASE * 1.1)
    done = waits.end()

    assert done.code == 0, done.err
    assert "in flight, whose outcome is unknown" in done.err
    assert other.counts(job) == {"total": 6, "completed": 6}
    # What it had in flight was counted, and asked once more.
    assert served.count == 6 + 3
    machines.holds(served)


def _is_waiting(machines: Machines) -> bool:
    """Whether a second runner has looked, and found nothing to claim."""
    at_work = (
        "SELECT count(*) FROM runners WHERE ended_at IS NULL "
        "AND heartbeat_at > started_at"
    )
    return machines.rows(at_work) == [(2,)]


@pytest.mark.fault(57)
@pytest.mark.long
def test_a_late_answer_is_kept_where_the_request_is_still_open(machines: Machines):
    """A machine stops for longer than its lease; nobody has asked again meanwhile."""
    stopped, other = machines.machine(), machines.machine()
    gate = GateClock(passes=1)
    served = stopped.serve(limit=20, clock=gate, latency=1.0)
    other.configure(20)
    job = stopped.submit(prompts(3))
    runs = stopped.start("run", "--concurrency", 2)
    wait_until(lambda: served.count == 3, "calls in flight")
    runs.signal(signal.SIGSTOP)
    machines.pass_time(LEASE * 1.1)
    # It takes over, and makes no call of its own.
    other.env["QUOTABATCH_BASE_URL"] = "http://127.0.0.1:1/v1"
    took = other.run("run", "--any-host")
    assert took.code == 69, took.err
    assert "in flight, whose outcome is unknown" in took.err
    assert other.counts(job) == {"total": 3, "completed": 1, "pending": 2}

    gate.let(1)
    runs.signal(signal.SIGCONT)
    # What is free after the first is no use for the second, which is still out.
    wait_until(lambda: other.counts(job)["completed"] == 2, "the first late answer")
    served.open_gate()
    done = runs.end()

    assert done.code == 0, done.err
    assert stopped.counts(job) == {"total": 3, "completed": 3}
    assert served.count == 3
    machines.holds(served)


@pytest.mark.fault(57)
@pytest.mark.long
def test_a_process_of_this_machine_that_is_stopped_is_not_dead(machines: Machines):
    """Its lock says so, however long it gives no sign of life."""
    stage = machines.machine()
    gate = GateClock(passes=1)
    served = stage.serve(limit=20, clock=gate, latency=1.0)
    job = stage.submit(prompts(3))
    stopped = stage.start("run", "--concurrency", 2)
    wait_until(lambda: served.count == 3, "calls in flight")
    stopped.signal(signal.SIGSTOP)
    machines.pass_time(LEASE * 1.1)

    waits = stage.start("run")
    wait_until(lambda: _is_waiting(machines), "a look")
    stopped.signal(signal.SIGCONT)
    served.open_gate()
    ended = [stopped.end(), waits.end()]

    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    assert "in doubt" not in ended[1].err
    assert "outcome is unknown" not in ended[1].err
    assert stage.counts(job) == {"total": 3, "completed": 3}
    assert served.count == 3
    machines.holds(served)


@pytest.mark.fault(57)
@pytest.mark.long
def test_a_late_answer_changes_nothing_where_there_is_one(machines: Machines):
    stopped = machines.machine()
    gate = GateClock(passes=1)
    served = stopped.serve(limit=20, clock=gate, latency=1.0)
    job = stopped.submit(prompts(3))
    runs = stopped.start("run", "--concurrency", 2)
    wait_until(lambda: served.count == 3, "calls in flight")
    runs.signal(signal.SIGSTOP)
    machines.pass_time(LEASE * 1.1)
    served.open_gate()
    other = machines.machine(served)
    took = other.run("run")
    assert took.code == 0, took.err
    assert served.count == 5
    before = machines.rows("SELECT * FROM results ORDER BY request_id")

    runs.signal(signal.SIGCONT)
    done = runs.end()

    assert done.code == 0, done.err
    assert machines.rows("SELECT * FROM results ORDER BY request_id") == before
    assert stopped.counts(job) == {"total": 3, "completed": 3}
    assert served.count == 5
    machines.holds(served)


@pytest.mark.long
def test_every_command_works_there(machines: Machines):
    stage = machines.machine()
    served = stage.serve(limit=20)
    job = stage.submit([*prompts(4), "问题 1"])
    assert "5 of 5" in stage.run("run").err
    assert served.count == 4
    more = stage.write("more.jsonl", '{"prompt": "neu", "id": "x"}\n')
    assert stage.quick("append", job, more).code == 0
    assert stage.quick("cancel", job).code == 0
    assert stage.counts(job) == {"total": 6, "completed": 5, "cancelled": 1}
    assert stage.quick("retry", job, "--cancelled").code == 0
    assert stage.quick("pause", job).code == 0
    idle = stage.quick("run")
    assert (idle.code, "1 waiting, paused" in idle.err) == (75, True)
    assert stage.quick("resume", job).code == 0
    assert stage.quick("change", job, "--priority", 3).code == 0
    assert stage.run("run").code == 0
    assert stage.counts(job) == {"total": 6, "completed": 6}
    shown = stage.quick("show", job, "x")
    assert served.answer_to("neu") in shown.out
    assert stage.quick("quota", "record", 2).code == 0
    assert stage.ledger()["used"] == 7
    history = stage.quick("quota", "--history")
    assert history.code == 0, history.err
    looked = stage.quick("doctor", "--json")
    wrong = [one for one in looked.json() if one["state"] == "wrong"]
    assert [one["check"] for one in wrong] == ["clock"] or wrong == []
    assert len(stage.export(job)) == 6
    assert stage.quick("delete", job, "--yes").code == 0
    assert stage.quick("status", "--json").json() == []
    # A number is never given twice.
    assert stage.submit(["noch eine"]) == job + 1


@pytest.mark.long
def test_another_database_with_the_same_key_is_refused(machines: Machines):
    stage = machines.machine()
    stage.serve(limit=20)
    stage.submit(prompts(1))
    assert stage.run("run").code == 0
    stage.env["QUOTABATCH_DB"] = str(stage.folder / "own.db")
    stage.submit(prompts(1))

    done = stage.run("run")

    assert done.code == 78
    assert "are counted in postgresql://" in done.err
