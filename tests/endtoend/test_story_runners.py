"""Several processes at one queue, and at one fresh home."""

from __future__ import annotations

import sqlite3

import pytest
from stage import MODEL, Stage


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("runners", "limit", "requests"),
    [
        pytest.param(6, 50, 120, id="six"),
        pytest.param(6, 1000, 2500, id="six-large", marks=pytest.mark.long),
    ],
)
@pytest.mark.long
def test_six_runners_on_one_queue_spend_exactly_the_limit(
    stage: Stage, runners, limit, requests
):
    served = stage.serve(limit=limit, latency=0.01)
    prompts = [f"问题 {n}" for n in range(requests)]
    job = stage.submit(prompts)

    started = [stage.start("run", "--concurrency", 4) for _ in range(runners)]
    ended = [process.end() for process in started]

    assert [one.code for one in ended] == [75] * runners, [one.err for one in ended]
    assert {one.out for one in ended} == {""}
    assert all("Error" not in one.err for one in ended)
    assert served.count == limit
    assert len(set(served.prompts)) == limit
    assert stage.counts(job) == {
        "total": requests,
        "completed": limit,
        "pending": requests - limit,
    }
    answered = {
        one["input"]["prompt"]: one["completion"]
        for one in stage.export(job, "--only", "completed")
    }
    assert answered == {one: served.answer_to(one) for one in served.prompts}
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"], ledger["remaining"]) == (limit, 0, 0)


@pytest.mark.fault(14)
@pytest.mark.long
def test_twelve_processes_that_start_at_once_share_one_fresh_home(stage: Stage):
    started = []
    for n in range(12):
        source = stage.write(f"file-{n}.txt", f"eins {n}\nzwei {n}\n")
        started.append(stage.start("submit", source, "--model", MODEL))
    ended = [process.end() for process in started]

    assert [one.code for one in ended] == [0] * 12, [one.err for one in ended]
    numbers = [int(one.out) for one in ended]
    assert len(set(numbers)) == 12
    status = stage.quick("status", "--json")
    assert status.code == 0
    assert {row["job"]: row["name"] for row in status.json()} == {
        number: f"file-{n}" for n, number in enumerate(numbers)
    }
    assert {row["counts"]["total"] for row in status.json()} == {2}
    files = sorted(path.name for path in stage.home.iterdir() if path.is_file())
    assert [name for name in files if name.endswith(".db")] == ["quotabatch.db"]
    assert not [name for name in files if name.startswith(".")]
    assert list((stage.home / "quotabatch.db.locks").iterdir()) == []
    with sqlite3.connect(stage.home / "quotabatch.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
