"""Runners on a Ray cluster: the same promises, counted by the endpoint.

What dies here is dead: processes get SIGKILL, nodes are taken away in mid-run.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from raynodes import PATIENCE, Nodes, in_flight, needs_ray
from stage import KEY, GateClock, Stage, wait_until
from truth import all_answered, database, holds, plain

pytestmark = [pytest.mark.heavy, pytest.mark.cluster, needs_ray]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes with two CPUs each."""
    nodes = Nodes(2, 2)
    yield nodes
    nodes.close()


def pids(stage: Stage) -> list[int]:
    """The processes of the runners that are at work."""
    with closing(sqlite3.connect(database(stage))) as connection:
        rows = connection.execute("SELECT pid FROM runners WHERE ended_at IS NULL")
        return [pid for (pid,) in rows]


def test_three_runners_spend_exactly_the_limit(stage: Stage):
    """Sixty prompts, twenty credits, on a cluster that the run starts by itself."""
    served = stage.serve(limit=20, latency=0.02)
    stage.submit([f"frage {n}" for n in range(60)])

    done = stage.run("run", "--on", "ray", "--runners", 3, seconds=PATIENCE)

    assert done.code == 75, done.err
    assert done.out == ""
    assert served.count == 20
    found = holds(stage, served)
    assert (len(found.answered), found.spent, found.unknown) == (20, 20, 0)
    assert max(Counter(served.prompts).values()) == 1
    said = done.err.splitlines()
    assert "QUOTABATCH_BASE_URL" in said[0]
    assert said[1] == "Placing 3 runners on a Ray cluster on this machine …"
    assert said[2].startswith("espai: 20 answers, 20 calls, in ")
    assert said[3] == "The credits are used up: 20 of 20."
    assert said[4].startswith("They are back ")
    assert said[6] == "Job 1 (prompts): 20 of 60 answered, 40 waiting."
    assert len(said) == 7


def test_a_wrong_key_costs_one_call(stage: Stage, nodes: Nodes):
    served = stage.serve(keys=frozenset({"another"}))
    stage.submit([f"frage {n}" for n in range(9)])

    done = stage.run(*nodes.words, "--runners", 3, seconds=PATIENCE)

    assert done.code == 77
    assert "espai refused the key" in plain(done)
    assert served.count == 1


def test_the_calls_that_all_may_make_are_made_in_all(stage: Stage, nodes: Nodes):
    served = stage.serve()
    stage.submit([f"frage {n}" for n in range(40)])
    words = (*nodes.words, "--runners", 3, "--max-calls", 11)

    done = stage.run(*words, seconds=PATIENCE)

    assert done.code == 75, done.err
    assert "Stopped at --max-calls; run again to go on." in done.err
    assert served.count == 11
    assert len(holds(stage, served).answered) == 11


def test_more_runners_than_there_is_room_for_do_not_hang(stage: Stage, nodes: Nodes):
    served = stage.serve(latency=1, clock=GateClock(passes=1))
    stage.submit([f"frage {n}" for n in range(30)])
    running = stage.start(*nodes.words, "--runners", 6)

    running.says("2 of 6 runners wait for a place: each takes a CPU")
    served.open_gate()
    done = running.end(PATIENCE)

    assert done.code == 0, done.err
    assert served.count == 30
    all_answered(stage, served, holds(stage, served))


@pytest.mark.fault(3, 16)
def test_a_runner_that_is_killed_is_replaced(stage: Stage, nodes: Nodes):
    """What it had in flight is in doubt, spent, named, and asked again by others."""
    served, running = in_flight(stage, *nodes.words)
    os.kill(pids(stage)[1], signal.SIGKILL)

    running.says("Another takes its place.")
    running.says("An earlier run ended with 1 call in flight")
    served.open_gate()
    done = running.end(PATIENCE)

    assert done.code == 0, done.err
    assert served.count == 41
    assert "espai: 40 answers, 41 calls, in " in done.err
    found = holds(stage, served)
    assert (found.spent, found.unknown) == (41, 1)
    all_answered(stage, served, found)


@pytest.mark.fault(3, 16)
def test_a_node_that_is_lost_in_mid_run_costs_what_was_in_flight(
    stage: Stage, nodes: Nodes
):
    served, running = in_flight(stage, *nodes.words, runners=4)
    nodes.order("kill")

    running.says("An earlier run ended with 2 calls in flight")
    served.open_gate()
    done = running.end(PATIENCE)
    nodes.order("add", 2)

    assert done.code == 0, done.err
    assert served.count == 42
    assert "espai: 40 answers, 42 calls, in " in done.err
    found = holds(stage, served)
    assert (found.spent, found.unknown) == (42, 2)
    all_answered(stage, served, found)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
@pytest.mark.fault(47)
def test_a_terminals_signal_drains_all_of_them(stage: Stage, number, code):
    """It goes to the whole group of processes, those of the cluster among them."""
    served, running = in_flight(stage, "run", "--on", "ray", under=["setsid"])

    os.killpg(running.pid, number)
    running.says("Finishing the calls in flight")
    served.open_gate()
    done = running.end(PATIENCE)

    assert done.code == code, done.err
    assert done.out == ""
    assert "died" not in done.err
    found = holds(stage, served)
    answered = len(found.answered)
    assert (answered, found.spent, found.unknown) == (served.count, served.count, 0)
    # It takes a moment until all have heard of it.
    assert 11 <= answered < 40
    assert stage.counts() == {
        "total": 40,
        "completed": answered,
        "pending": 40 - answered,
    }


@pytest.mark.fault(47)
def test_the_second_signal_gives_up_what_is_in_flight(stage: Stage, nodes: Nodes):
    served, running = in_flight(stage, *nodes.words)

    running.signal(signal.SIGINT)
    running.says("Finishing the calls in flight")
    running.signal(signal.SIGINT)
    # The gate is closed still: it cannot have waited for an answer.
    done = running.end()

    assert done.code == 130, done.err
    assert done.err.count("with 1 call in flight, whose outcome is unknown") == 3
    found = holds(stage, served)
    assert (len(found.answered), found.spent, found.unknown) == (8, 11, 3)
    served.open_gate()
    assert stage.quick("run").code == 0
    assert served.count == 40 + 3


@pytest.mark.fault(3)
def test_with_the_driver_its_runners_die(stage: Stage, nodes: Nodes):
    """Nobody goes on in secret; the next run takes over."""
    served, running = in_flight(stage, *nodes.words)
    at_work = pids(stage)

    running.kill()

    wait_until(lambda: not any(map(is_alive, at_work)), "the end of its runners")
    assert served.count == 11
    served.open_gate()
    done = stage.quick("run")
    assert done.code == 0, done.err
    assert served.count == 40 + 3
    found = holds(stage, served)
    assert (found.spent, found.unknown) == (43, 3)
    all_answered(stage, served, found)


@pytest.mark.fault(54)
def test_the_key_is_in_nothing_that_ray_writes(stage: Stage, tmp_path: Path):
    """Nor in what anybody's `ps` shows of its processes."""
    folder = tempfile.mkdtemp(prefix="t-")
    env = {"TMPDIR": folder}
    served, running = in_flight(stage, "run", "--on", "ray", env=env)
    os.kill(pids(stage)[0], signal.SIGKILL)
    running.says("Another takes its place.")

    written = [one for one in Path(folder).rglob("*") if one.is_file()]
    assert any("raylet" in one.name for one in written)
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    told = subprocess.run(["ps", "axww"], capture_output=True, check=True).stdout
    assert b"ray::Runner" in told
    assert KEY.encode() not in told

    served.open_gate()
    done = running.end(PATIENCE)
    assert done.code == 0, done.err
    assert KEY not in done.err
    holds(stage, served)
    assert [one.name for one in Path(folder).iterdir()] == []
    shutil.rmtree(folder)


def test_a_machine_with_another_key_is_named(stage: Stage, nodes: Nodes):
    served = stage.serve()
    stage.submit(["eins", "zwei"])
    env = {"ESPAI_API_KEY": "sk-another-0123456789"}

    done = stage.run(*nodes.words, env=env, seconds=PATIENCE)

    assert done.code == 77
    said = plain(done)
    assert "the key for espai on " in said
    assert "is not the one that is used here: `quotabatch keys set espai` there" in said
    assert served.count == 0


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
