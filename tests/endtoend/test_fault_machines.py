"""Machines whose clocks differ, and one that loses its line to the database."""

from __future__ import annotations

import os

import pgserver
import pytest
from machines import Machines, machines, template
from network import DATABASE, ENDPOINT, namespace
from stage import GateClock, Warm, wait_until

pytestmark = pytest.mark.long


@pytest.mark.fault(56)
def test_only_the_server_s_clock_counts(machines: Machines):
    """Each machine is hours off, in another direction: it is one day for all."""
    first = machines.machine()
    served = first.serve(limit=20, latency=0.05)
    job = first.submit([f"frage {n}" for n in range(60)])
    others = [machines.machine(served) for _ in range(3)]
    skewed = {"DONT_FAKE_MONOTONIC": "1"}

    started = [
        one.start("run", under=("faketime", "-f", f"{hours:+d}h"), env=skewed)
        for one, hours in zip((first, *others), (0, 14, -13, 700), strict=True)
    ]
    ended = [process.end() for process in started]

    assert [one.code for one in ended] == [75] * 4, [one.err for one in ended]
    assert served.count == 20
    assert first.counts(job) == {"total": 60, "completed": 20, "pending": 40}
    (window,) = machines.rows("SELECT count(DISTINCT starts_at) FROM windows")
    assert window == (1,)
    # None was taken for dead by another that thinks it is next month.
    assert machines.rows("SELECT count(*) FROM errors") == [(0,)]
    machines.holds(served)


@pytest.mark.fault(55)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_a_line_that_is_cut_and_mended_costs_nothing(tmp_path, warm: Warm):
    """Between namespaces: nobody hangs up, nothing simply comes through any more."""
    with (
        namespace(f"qb{os.getpid() % 100000}") as there,
        pgserver.cluster() as cluster,
        machines(cluster, template(cluster), tmp_path, warm) as made,
    ):
        cluster.listen(f"{DATABASE}.1")
        stage = made.machine()
        gate = GateClock(passes=4)
        served = stage.serve(limit=20, clock=gate, latency=1.0, host=f"{ENDPOINT}.1")
        job = stage.submit([f"frage {n}" for n in range(12)])
        way = f"postgresql+psycopg://postgres@{DATABASE}.1/{made.database}"
        runs = stage.start(
            "run", "--db", way, "--concurrency", 3, "--separate-ledger",
            under=there.under,
        )  # fmt: skip
        wait_until(lambda: served.count == 7, "calls in flight")
        there.cut()
        served.open_gate()
        runs.says("Waiting for it")
        assert served.count == 7
        there.heal()
        done = runs.end()

        assert done.code == 0, done.err
        assert "The database is back." in done.err
        assert stage.counts(job) == {"total": 12, "completed": 12}
        assert served.count == 12
        made.holds(served)
