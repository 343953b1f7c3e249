"""The main job, from day to day: the endpoint's own count is the truth."""

from __future__ import annotations

import pytest
from stage import DAY, Stage

POEM = """第 {n} 首。请把下面的诗译成英文，并解释最后一句：

床前明月光，
\t疑是地上霜。
举头望明月，“低头”思故乡。\u2028（第 {n} 行之后没有了）"""


def test_three_hundred_chinese_prompts_take_two_days_of_two_hundred(stage: Stage):
    served = stage.serve(limit=200)
    prompts = [POEM.format(n=n) for n in range(1, 301)]
    rights = [served.answer_to(prompt) for prompt in prompts]
    job = stage.submit(prompts)

    first = stage.run("run", "--concurrency", 8)

    assert first.code == 75
    assert first.out == ""
    assert "200 of 200" in first.err
    assert "exit code 75" in first.err
    assert "Error" not in first.err
    assert served.count == 200
    assert sorted(set(served.prompts)) == sorted(prompts[:200])
    results = stage.export(job)
    assert [one["custom_id"] for one in results] == [str(n) for n in range(1, 301)]
    assert [one["completion"] for one in results] == rights[:200] + [None] * 100
    assert [one["status"] for one in results] == ["completed"] * 200 + ["pending"] * 100
    assert stage.counts(job) == {"total": 300, "completed": 200, "pending": 100}
    ledger = stage.ledger()
    assert (ledger["limit"], ledger["used"], ledger["reserved"]) == (200, 200, 0)
    assert ledger["remaining"] == 0

    same_day = stage.quick("run")

    assert same_day.code == 75
    assert served.count == 200

    served.standin.next_day()
    second = stage.run("run", "--concurrency", 8, later=DAY)

    assert second.code == 0
    assert second.out == ""
    assert "300 of 300 answered" in second.err
    assert served.count == 300
    assert served.standin.calls_today() == 100
    assert sorted(served.prompts) == sorted(prompts)
    assert [one["completion"] for one in stage.export(job)] == rights
    ledger = stage.ledger(later=DAY)
    assert (ledger["used"], ledger["reserved"], ledger["remaining"]) == (100, 0, 100)


@pytest.mark.long
def test_wait_sleeps_over_every_reset_until_all_is_done(stage: Stage):
    served = stage.serve(limit=2)
    job = stage.submit("abcde")
    jumping = {
        "STAGE_JUMPS": served.url.removesuffix("/v1"),
        "STAGE_ZONE": stage.zone,
    }

    done = stage.run("run", "--wait", "-q", later=DAY * 0, env=jumping)

    assert done.code == 0, done.err
    assert served.prompts == list("abcde")
    by_day = [call.day for call in served.calls]
    assert [by_day.count(day) for day in sorted(set(by_day))] == [2, 2, 1]
    assert [call.outcome for call in served.calls] == ["answered"] * 5
    assert stage.counts(job) == {"total": 5, "completed": 5}


@pytest.mark.fault(36)
@pytest.mark.long
def test_the_endpoints_own_word_ends_the_day_before_our_count_does(stage: Stage):
    served = stage.serve(limit=3)
    stage.configure(limit=200)
    job = stage.submit([f"frage {n}" for n in range(10)])

    done = stage.run("run", "--concurrency", 1)

    assert done.code == 75
    assert "says that nothing is left" in done.err
    # Both counts, its own and ours.
    assert "4 of 200 credits are counted here" in done.err
    # That there is more by then is a guess, which one call is to confirm.
    assert "One call is tried from" in done.err
    assert "They are back" not in done.err
    assert "when one call is tried" in stage.quick("quota").out
    assert "exit code 75" in done.err
    assert served.count == 4
    assert stage.counts(job) == {"total": 10, "completed": 3, "pending": 7}
    ledger = stage.ledger()
    assert (ledger["closed"], ledger["trial"]) == (True, True)
    assert (ledger["used"], ledger["remaining"]) == (4, 0)

    again = stage.quick("run")

    assert again.code == 75
    assert served.count == 4


@pytest.mark.long
def test_credits_spent_elsewhere_are_left_alone_once_they_are_booked(stage: Stage):
    served = stage.serve(limit=10)
    stage.submit([f"frage {n}" for n in range(20)])

    booked = stage.quick("quota", "record", 4, "--note", "the phone")

    assert booked.code == 0
    assert "4 credits booked" in booked.err
    assert stage.run("run", "--keep", 1).code == 75
    assert served.count == 10 - 4 - 1
    ledger = stage.ledger()
    assert (ledger["used"], ledger["remaining"]) == (9, 1)


@pytest.mark.long
def test_max_calls_ends_a_run_early_and_work_remains(stage: Stage):
    served = stage.serve(limit=200)
    job = stage.submit([f"frage {n}" for n in range(10)])

    done = stage.run("run", "--max-calls", 3)

    assert done.code == 75
    assert "--max-calls" in done.err
    assert served.count == 3
    assert stage.counts(job) == {"total": 10, "completed": 3, "pending": 7}
