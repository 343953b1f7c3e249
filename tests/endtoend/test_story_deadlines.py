"""Jobs with a deadline, and with a cap of their own."""

from __future__ import annotations

from datetime import datetime

import pytest
from allowances import day_after
from stage import DAY, MODEL, Stage

# Deadlines


@pytest.mark.long
def test_a_job_that_will_be_late_is_warned_of_when_it_is_submitted_and_run(
    stage: Stage,
):
    served = stage.serve(limit=2)
    rows = "".join(f"prompt {n}\n" for n in range(10))
    path = stage.write("prompts.txt", rows)
    words = ("submit", path, "--model", MODEL)

    submitted = stage.quick(*words, "--due", day_after(2))

    assert submitted.code == 0, submitted.err
    assert "late" in submitted.err
    ran = stage.run("run")
    assert ran.code == 75
    assert "is due" in ran.err
    # It is said before anything is spent.
    assert ran.err.index("is due") < ran.err.index("2 calls")
    assert served.count == 2
    assert "late" in stage.quick("status", 1).out


@pytest.mark.long
def test_a_job_that_will_be_done_in_time_is_not_warned_of(stage: Stage):
    stage.serve(limit=2)
    path = stage.write("prompts.txt", "".join(f"prompt {n}\n" for n in range(10)))

    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(30))

    assert done.code == 0
    assert "late" not in done.err
    ran = stage.run("run")
    assert ran.code == 75
    assert "due" not in ran.err


@pytest.mark.long
def test_a_job_that_was_due_yesterday_is_warned_of(stage: Stage):
    stage.serve(limit=2)
    path = stage.write("prompts.txt", "".join(f"prompt {n}\n" for n in range(10)))
    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(-1))
    assert done.code == 0
    assert "late" in done.err
    assert "was due" in stage.run("run").err


@pytest.mark.parametrize(
    "due",
    ["garbage", "", "tomorrow", "2026-13-01", "2026-02-30", "99:99", "0000-01-01"],
)
@pytest.mark.long
def test_a_due_date_that_is_none_queues_nothing(stage: Stage, due):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick("submit", path, "--model", MODEL, "--due", due)
    assert done.code == 2
    assert "--due" in done.err
    assert "2026-12-10" in done.err
    assert "Traceback" not in done.err
    assert stage.quick("status", "--json").json() == []


def test_a_due_date_may_have_a_time_and_a_zone(stage: Stage):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick(
        "submit", path, "--model", MODEL, "--due", "2126-12-10T18:00+08:00"
    )
    assert done.code == 0
    (job,) = stage.quick("status", "--json").json()
    due = datetime.fromisoformat(job["due_at"])
    assert due == datetime.fromisoformat("2126-12-10T10:00+00:00")


# A job's own cap


@pytest.mark.long
def test_a_capped_job_takes_its_cap_a_day_and_leaves_the_rest(stage: Stage):
    served = stage.serve(limit=200)
    job = stage.submit([f"frage {n}" for n in range(8)], "--daily-cap", 3)

    first = stage.run("run")

    assert first.code == 75
    assert served.count == 3
    # 197 of the account's credits are left: it is the cap that stands in the way.
    assert "3 of 200" not in first.err
    assert stage.ledger()["remaining"] == 197
    assert stage.run("run").code == 75
    assert served.count == 3
    served.standin.next_day()
    assert stage.run("run", later=DAY).code == 75
    assert served.count == 6
    served.standin.next_day()
    assert stage.run("run", later=2 * DAY).code == 0
    assert served.count == 8
    assert stage.counts(job) == {"total": 8, "completed": 8}


@pytest.mark.long
def test_what_a_capped_job_leaves_another_one_takes(stage: Stage):
    served = stage.serve(limit=5)
    stage.submit([f"erste {n}" for n in range(8)], "--daily-cap", 3)
    stage.submit([f"zweite {n}" for n in range(8)])
    assert stage.run("run").code == 75
    asked = [prompt.partition(" ")[0] for prompt in served.prompts]
    assert sorted(asked) == ["erste"] * 3 + ["zweite"] * 2


@pytest.mark.parametrize("cap", ["0", "-1", "many"])
def test_a_cap_that_is_none_queues_nothing(stage: Stage, cap):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick("submit", path, "--model", MODEL, "--daily-cap", cap)
    assert done.code == 2
    assert stage.quick("status", "--json").json() == []


@pytest.mark.long
def test_a_job_is_not_told_late_for_the_cap_of_another(stage: Stage):
    stage.serve(limit=200)
    stage.submit([f"a{n}" for n in range(40)], "--daily-cap", 6, "--name", "capped")
    assert stage.run("run").code == 75
    path = stage.write("more.jsonl", '{"prompt": "b"}\n')
    words = ("submit", path, "--model", MODEL, "--due", day_after(2))
    for flags in (("--dry-run",), ()):
        told = stage.quick(*words, *flags)
        assert told.code == 0
        assert "of its own" not in told.err
        assert "late" not in told.err
        assert "200 credits a day: with what waits already, 1 day, done" in told.err
    assert "late" not in stage.quick("status", 2).out
