"""A full disk: no call is made whose answer could not be stored, and none that was
answered is lost, whatever fills the disk meanwhile.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from disks import MIB, enlarge, fill, left, needs_mount, tmpfs
from stage import MODEL, GateClock, Process, Result, Served, Stage, wait_until
from truth import all_answered, holds, plain

FULL = "free space and run again"


@pytest.fixture
def small(stage: Stage) -> Iterator[Stage]:
    """A machine whose home is on a disk of its own."""
    with tmpfs(stage.home, 64 * MIB):
        yield stage


def of_size(size: int) -> Any:
    """An endpoint's answers, so many bytes each; the very first is short."""

    def answer(body: Mapping[str, Any]) -> str:
        prompt = body["message"][-1]["content"]
        return prompt if prompt == "frage 0" else f"{prompt} " + "x" * size

    return answer


def asked_once(served: Served, number: int) -> bool:
    return Counter(served.prompts) == {f"frage {n}": 1 for n in range(number)}


def questions(number: int) -> list[str]:
    return [f"frage {n}" for n in range(number)]


def in_flight(stage: Stage, served: Served, calls: int) -> Process:
    """A run with answers stored, and so many calls out."""
    stored = served.standin.clock.passes
    running = stage.start("run", "--concurrency", calls)
    wait_until(lambda: served.count == stored + calls, f"{calls} calls in flight")
    wait_until(lambda: stage.counts().get("completed") == stored, "answers stored")
    return running


def bring_back(done: Result, elsewhere: Path) -> None:
    """Move the answers that found no room beside the database, as the error says."""
    message = plain(done)
    for kept in elsewhere.rglob("*.jsonl"):
        assert str(kept) in message
        folder = Path(message.rpartition("moved to ")[2])
        folder.mkdir(exist_ok=True)
        shutil.move(kept, folder)


@needs_mount
@pytest.mark.fault(9)
def test_no_call_is_made_on_a_disk_that_is_nearly_full(small: Stage):
    served = small.serve()
    small.submit(questions(3))
    filler = fill(small.home, but=MIB)

    done = small.quick("run")

    assert FULL in plain(done)
    assert served.count == 0
    assert holds(small, served).spent == 0
    filler.unlink()
    assert small.quick("run").code == 0
    assert asked_once(served, 3)


@needs_mount
@pytest.mark.fault(9)
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(10, id="short", marks=pytest.mark.long),
        pytest.param(500_000, id="long"),
    ],
)
@pytest.mark.long
def test_answers_that_come_when_the_disk_is_full_are_kept(small: Stage, size):
    """It was filled by somebody else, while the calls were out."""
    elsewhere = small.aside / "elsewhere"
    elsewhere.mkdir()
    small.env["TMPDIR"] = str(elsewhere)
    served = small.serve(answer=of_size(size), latency=1, clock=GateClock(passes=3))
    small.submit(questions(12))
    running = in_flight(small, served, 4)
    filler = fill(small.home)
    assert left(small.home) == 0
    served.open_gate()
    done = running.end()

    assert FULL in plain(done)
    # With the calls that were out, this is all.
    assert served.count == 7
    filler.unlink()
    bring_back(done, elsewhere)
    holds(small, served)
    assert small.quick("run").code == 0
    assert asked_once(served, 12)
    all_answered(small, served, holds(small, served))


@pytest.mark.long
@needs_mount
@pytest.mark.fault(9)
def test_answers_that_find_no_room_beside_the_database_are_kept_elsewhere(small: Stage):
    """And the words of the error lead to where they are taken in."""
    elsewhere = small.aside / "elsewhere"
    elsewhere.mkdir()
    small.env["TMPDIR"] = str(elsewhere)
    served = small.serve(answer=of_size(6 * MIB), latency=1, clock=GateClock(passes=1))
    small.submit(questions(5))
    running = in_flight(small, served, 2)
    filler = fill(small.home)
    served.open_gate()
    done = running.end()

    assert served.count == 3
    filler.unlink()
    # As many more answers of this length as may be out want more than there was.
    enlarge(small.home, 256 * MIB)
    bring_back(done, elsewhere)

    assert small.quick("run").code == 0
    assert asked_once(served, 5)
    all_answered(small, served, holds(small, served))


@needs_mount
@pytest.mark.fault(9)
@pytest.mark.long
def test_a_run_that_fills_the_disk_itself_stops_before_it_is_full(small: Stage):
    served = small.serve(answer=of_size(3 * MIB))
    small.submit(questions(20))

    done = small.quick("run", "--concurrency", 4)

    assert FULL in plain(done)
    assert 0 < served.count < 20
    found = holds(small, served)
    assert len(found.answered) == served.count == found.spent
    assert left(small.home) > 0

    enlarge(small.home, 256 * MIB)
    assert small.quick("run").code == 0
    assert asked_once(served, 20)
    all_answered(small, served, holds(small, served))


@needs_mount
@pytest.mark.fault(9)
def test_a_submission_that_fills_the_disk_queues_nothing(small: Stage):
    served = small.serve()
    rows = "".join(
        json.dumps({"prompt": f"{n} " + "x" * 9000}) + "\n" for n in range(900)
    )
    path = small.write("rows.jsonl", rows)
    words = ("submit", path, "--model", MODEL)
    small.submit(["schon da"])
    filler = fill(small.home, but=2 * MIB)

    done = small.quick(*words)

    assert FULL in plain(done)
    assert done.out == ""
    assert small.counts() == {"total": 1, "pending": 1}
    filler.unlink()
    assert len(small.quick("status", "--json").json()) == 1
    assert small.quick(*words).code == 0
    assert len(holds(small, served).rows) == 1 + 900


@needs_mount
@pytest.mark.fault(9, 15)
def test_a_first_start_on_a_full_disk_leaves_nothing_in_the_way(small: Stage):
    small.serve()
    rows = small.write("rows.txt", "eins\n")
    filler = fill(small.home, but=40_000)
    before = sorted(small.home.iterdir())

    done = small.quick("submit", rows, "--model", MODEL)

    assert FULL in plain(done)
    assert sorted(small.home.iterdir()) == before
    filler.unlink()
    assert small.quick("submit", rows, "--model", MODEL).code == 0


@needs_mount
@pytest.mark.fault(49)
def test_an_export_to_a_full_disk_leaves_what_was_there(stage: Stage):
    job = stage.submit([f"{n} " + "x" * 1000 for n in range(200)])
    with tmpfs(stage.folder / "disk", MIB) as disk:
        out = disk / "out.jsonl"
        out.write_text("what was there\n")
        fill(disk, but=50_000)

        done = stage.quick("export", job, "--force", "-o", out)

        assert "No space left on device" in plain(done)
        assert out.read_text() == "what was there\n"
        assert len(list(disk.iterdir())) == 2
    assert len(stage.export(job)) == 200


@pytest.mark.long
@pytest.mark.fault(9)
@pytest.mark.parametrize("size", [20_000, 90_000, 200_000, 300_000])
def test_a_limit_to_the_size_of_files_is_as_a_full_disk(stage: Stage, size):
    """Where no disk can be mounted, this fault can be had."""
    served = stage.serve(answer=of_size(20_000))
    stage.submit(questions(12))

    limited = ("prlimit", f"--fsize={size}")
    done = stage.run("run", "--concurrency", 1, under=limited)

    plain(done)
    holds(stage, served)
    assert stage.quick("run").code == 0
    assert asked_once(served, 12)
    all_answered(stage, served, holds(stage, served))
