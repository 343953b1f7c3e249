"""kill -9 at any moment: no answer is lost, only what was in flight is asked again."""

from __future__ import annotations

import random
import signal
from collections import Counter
from threading import Event

import pytest
from stage import PATIENCE, GateClock, Stage, wait_until

from batch.presence import is_alive
from batch.store.runners import MOST_DOUBTS

CONCURRENCY = 4


@pytest.mark.parametrize(
    ("kills", "requests", "seed"),
    [
        pytest.param(5, 60, 1, id="five"),
        pytest.param(30, 300, 2, id="thirty", marks=pytest.mark.long),
    ],
)
@pytest.mark.long
def test_a_queue_survives_kills_at_any_moment(stage: Stage, kills, requests, seed):
    chance = random.Random(seed)
    served = stage.serve(limit=10_000, latency=0.02, pace=0.005)
    prompts = [f"第 {n} 个问题\n第二行" for n in range(requests)]
    job = stage.submit(prompts)
    safe: dict[str, str] = {}

    for _ in range(kills):
        before = served.count
        running = stage.start("run", "--concurrency", CONCURRENCY)
        # Some die before their first call, the others after so many.
        wanted = chance.choice([0, 1, 1, 2, 4, 6, 9])
        wait_until(
            lambda at=before + wanted, run=running: (
                served.count >= at or run.popen.poll() is not None
            ),
            "the calls of the next run",
            PATIENCE / 2,
        )
        Event().wait(chance.random() * (0.05 if wanted else 0.5))
        running.kill()
        now = {
            one["custom_id"]: one["completion"]
            for one in stage.export(job, "--only", "completed")
        }
        assert safe.items() <= now.items()
        safe = now

    last = stage.run("run", "--concurrency", 16)

    assert last.code == 0, last.err
    assert served.count <= requests + kills * CONCURRENCY
    results = stage.export(job)
    assert [one["completion"] for one in results] == [
        served.answer_to(prompt) for prompt in prompts
    ]
    # Per prompt: no call that is not on record as an attempt.
    calls = Counter(served.prompts)
    attempts = {one["input"]["prompt"]: one["attempts"] for one in results}
    assert all(calls[prompt] <= attempts[prompt] for prompt in prompts)
    ledger = stage.ledger()
    assert served.count <= ledger["used"] <= requests + kills * CONCURRENCY
    assert ledger["reserved"] == 0
    # A kill before the runner's row was written leaves its lock's file: nobody
    # holds it, and nothing looks for it.
    for lock in (stage.home / "quotabatch.db.locks").iterdir():
        assert not is_alive(lock.parent, lock.stem)


@pytest.mark.fault(3)
@pytest.mark.long
def test_after_a_kill_the_next_run_names_what_was_in_flight_and_goes_on(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=3))
    job = stage.submit([f"frage {n}" for n in range(1, 11)])
    running = stage.start("run")
    wait_until(lambda: served.count == 7, "three answers and four calls in flight")
    wait_until(lambda: len(stage.export(job, "--only", "completed")) == 3, "answers")
    running.signal(signal.SIGKILL)
    running.end()
    assert stage.counts(job) == {
        "total": 10,
        "running": 4,
        "completed": 3,
        "pending": 3,
    }
    assert stage.ledger()["reserved"] == 4
    served.open_gate()

    second = stage.run("run")

    assert second.code == 0
    assert "4 calls in flight" in second.err
    assert "4, 5, 6, 7" in second.err
    assert served.count == 10 + 4
    assert Counter(served.prompts) == Counter(
        [f"frage {n}" for n in range(1, 11)] + [f"frage {n}" for n in range(4, 8)]
    )
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"]) == (14, 0)


@pytest.mark.long
def test_held_back_calls_are_asked_again_only_when_the_user_says_so(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=0))
    job = stage.submit([f"frage {n}" for n in range(1, 4)])
    running = stage.start("run")
    wait_until(lambda: served.count == 1, "the first call")
    running.kill()
    served.open_gate()

    held = stage.quick("run", "--in-doubt", "hold")

    assert held.code == 1
    assert "held back" in held.err
    assert served.prompts == ["frage 1", "frage 2", "frage 3"]
    first = stage.export(job)[0]
    assert first["status"] == "failed"
    assert first["error"]["code"] == "in_doubt"

    assert stage.quick("retry", job, "--error", "in_doubt").code == 0
    assert stage.quick("run").code == 0
    assert served.count == 4
    assert stage.export(job)[0]["completion"] == served.answer_to("frage 1")


def test_a_job_can_be_deleted_once_its_run_was_killed(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=0))
    job = stage.submit(["eins", "zwei"])
    running = stage.start("run")
    wait_until(lambda: served.count == 1, "the first call")
    early = stage.quick("delete", job, "--yes")
    assert early.code == 2
    assert f"calls in flight: 1 (process {running.pid})" in early.err
    assert stage.quick("status").out.startswith("1  prompts  running  ")
    running.kill()
    told = stage.quick("status").out
    assert told.startswith("1  prompts  interrupted  ")
    assert "1 call was in flight when a run died; the next run takes over" in told

    done = stage.quick("delete", job, "--yes")

    assert done.code == 0, done.err
    assert "1 call was in flight when the job's run died" in done.err
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"]) == (1, 0)
    assert stage.quick("status", "--json").json() == []


@pytest.mark.fault(6)
@pytest.mark.long
def test_a_request_that_kills_its_runner_again_and_again_is_given_up(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=0))
    job = stage.submit(["böse"])
    for kills in range(1, MOST_DOUBTS + 1):
        running = stage.start("run")
        wait_until(lambda n=kills: served.count == n, "the first call of a run")
        running.kill()
    served.open_gate()
    other = stage.submit(["gut"])

    last = stage.quick("run")

    assert last.code == 1
    assert served.prompts == ["böse"] * MOST_DOUBTS + ["gut"]
    [bad], [good] = stage.export(job), stage.export(other)
    assert (bad["status"], bad["error"]["code"]) == ("failed", "in_doubt")
    assert good["completion"] == served.answer_to("gut")
    assert stage.ledger()["used"] == MOST_DOUBTS + 1
