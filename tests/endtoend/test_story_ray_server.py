"""Runners on machines of different names: a file is not for them, a server is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from pgserver import Cluster, cluster
from raynodes import PATIENCE, Nodes, in_flight, needs_ray
from stage import Stage, wait_until
from truth import no_key, plain

from batch.store import postgres, revisions

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.cluster,
    needs_ray,
    pytest.mark.skipif(os.geteuid() != 0, reason="names of machines are root's"),
]
#: Seconds after which a runner elsewhere that is silent is taken for dead, and more.
LEASE = 150.0


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster(durable=False) as running:
        yield running


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A node here with two CPUs, and one far away."""
    nodes = Nodes(2)
    nodes.order("far", 2)
    yield nodes
    nodes.close()


@pytest.fixture
def name(server: Cluster, nodes: Nodes, stage: Stage) -> str:
    """A new database on the server, which the user has set."""
    # One key has one ledger, and a test has one of its own.
    (nodes.home / "ledgers.json").unlink(missing_ok=True)
    name = server.create()
    engine = postgres.engine(server.server(name, server.folder))
    with engine.connect() as connection:
        revisions.migrate(connection)
    engine.dispose()
    stage.env["QUOTABATCH_DB"] = server.url(name)
    return name


def test_a_file_is_refused_to_a_runner_elsewhere(stage: Stage, nodes: Nodes):
    served = stage.serve()
    stage.submit([f"frage {n}" for n in range(9)])

    done = stage.run(*nodes.words, "--runners", 4, seconds=PATIENCE)

    assert done.code == 2
    said = plain(done)
    assert "a runner was placed on far-away, which is not this machine" in said
    assert "use --db postgresql+psycopg://…" in said
    # Those that were placed here may have had their first answer by then.
    assert served.count <= 9
    assert stage.counts().get("running") is None


def test_runners_of_two_machines_spend_exactly_the_limit(
    stage: Stage, nodes: Nodes, server: Cluster, name: str
):
    served = stage.serve(limit=20, latency=0.02)
    stage.submit([f"frage {n}" for n in range(60)])

    done = stage.run(*nodes.words, "--runners", 4, seconds=PATIENCE)

    assert done.code == 75, done.err
    assert "espai: 20 answers, 20 calls, in " in done.err
    assert "The credits are used up: 20 of 20." in done.err
    assert served.count == 20
    assert max(Counter(served.prompts).values()) == 1
    hosts = server.execute("SELECT DISTINCT host FROM runners", name)
    assert len(hosts) == 2
    assert ("far-away",) in hosts
    # What is on another machine is that machine's own; the queue is none of it.
    assert not list(nodes.home.glob("quotabatch.db*"))
    spent = server.execute("SELECT state, sum(credits) FROM entries GROUP BY 1", name)
    assert spent == [("spent", 20)]
    no_key(stage)


@pytest.mark.long
@pytest.mark.fault(3, 16)
def test_a_machine_that_is_lost_costs_what_it_had_in_flight(
    stage: Stage, nodes: Nodes, server: Cluster, name: str
):
    """Nobody here can see that its runners are gone: their leases end."""
    served, running = in_flight(stage, *nodes.words, runners=4)
    nodes.order("kill")
    wait_until(
        lambda: "An earlier run ended with 2 calls in flight" in running.err,
        "the end of their leases",
        LEASE,
    )
    assert "2 of 4 runners wait for a place" in running.err
    served.open_gate()
    done = running.end(PATIENCE)
    nodes.order("far", 2)

    assert done.code == 0, done.err
    assert served.count == 42
    assert "espai: 40 answers, 42 calls, in " in done.err
    answers = [one["completion"] for one in stage.export()]
    assert answers == [served.answer_to(f"frage {n}") for n in range(40)]
    doubted = server.execute(
        "SELECT count(*) FROM errors WHERE verdict = 'in_doubt'", name
    )
    assert doubted == [(2,)]
