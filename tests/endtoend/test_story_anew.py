"""`retry --finish-reason`: what was answered is asked anew, and no answer is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from stage import Served, Stage, wait_until
from test_story_openai import configure, submit


class Answers:
    """What the endpoint says, numbered; it keeps what it was asked with."""

    def __init__(self) -> None:
        self.bodies: list[Mapping[str, Any]] = []

    def __call__(self, body: Mapping[str, Any]) -> str:
        self.bodies.append(body)
        return f"answer {len(self.bodies)}"


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def served(stage: Stage, answers: Answers) -> Served:
    """The first of its answers reaches the limit of tokens."""
    served = stage.serve(answer=answers, faults={1: "finish:length"})
    configure(stage, served.url)
    return served


def told(stage: Stage, job: int) -> list[tuple[str, str | None, int]]:
    return [
        (one["status"], one["completion"], one["attempts"]) for one in stage.export(job)
    ]


@pytest.mark.long
def test_an_answer_that_was_cut_short_is_asked_anew_with_more_room(
    stage: Stage, served: Served, answers: Answers
):
    job = submit(stage, "long", "short", "long", flags=("--param", "max_tokens=9"))
    done = stage.run("run", "--concurrency", 1)
    assert done.code == 0
    # One shares the answer of the other, and is counted with it.
    assert f"2 answers of job {job} were cut at max tokens: `quotab" in done.err
    lines = stage.quick("status", job).out
    assert "2 × cut at max tokens (length)" in lines
    assert f"`quotabatch retry {job} --finish-reason length --param max_tok" in lines
    before = [
        ("completed", "answer 1", 1),
        ("completed", "answer 2", 1),
        # It shares the first one's answer.
        ("completed", "answer 1", 0),
    ]
    assert told(stage, job) == before

    asked = ("retry", job, "--finish-reason", "length", "--param", "max_tokens=900")
    done = stage.quick(*asked)

    assert done.code == 0, done.err
    assert "2 requests wait again" in done.err
    # The old answer is there until there is another.
    assert told(stage, job) == [
        ("pending", "answer 1", 1),
        before[1],
        ("pending", "answer 1", 0),
    ]
    assert stage.run("run").code == 0
    assert told(stage, job) == [
        ("completed", "answer 3", 2),
        before[1],
        ("completed", "answer 3", 0),
    ]
    assert [body["max_tokens"] for body in answers.bodies] == [9, 9, 900]
    assert served.count == 3
    assert "for its 0 pending requests" in stage.quick(*asked).err


@pytest.mark.long
def test_a_kill_between_two_answers_leaves_the_first(stage: Stage, served: Served):
    job = submit(stage, "long")
    assert stage.run("run").code == 0
    stage.quick("retry", job, "--finish-reason", "length")
    served.standin.always = "stall"

    running = stage.start("run")
    wait_until(lambda: served.count == 2, "the second call")
    running.kill()

    assert told(stage, job) == [("running", "answer 1", 2)]
    served.standin.always = ""
    assert stage.run("run").code == 0
    assert told(stage, job) == [("completed", "answer 3", 3)]
    assert served.count == 3


@pytest.mark.parametrize("fault", ["http:400", "empty"], ids=["rejected", "empty"])
@pytest.mark.long
def test_who_is_asked_anew_in_vain_keeps_the_first_answer(
    stage: Stage, served: Served, fault
):
    job = submit(stage, "long", flags=("--max-attempts", 1))
    assert stage.run("run").code == 0
    stage.quick("retry", job, "--finish-reason", "length")
    served.standin.always = fault

    done = stage.run("run")

    assert served.count == 2
    (one,) = stage.export(job)
    assert (one["completion"], one["finish_reason"]) == ("answer 1", "length")
    assert one["status"] == "completed"
    assert done.code == 0, done.err


@pytest.mark.long
def test_who_takes_the_question_back_has_the_first_answer(stage: Stage, served: Served):
    job = submit(stage, "long", "short", "never asked")
    assert stage.run("run", "--max-calls", 2, "--concurrency", 1).code == 75
    stage.quick("retry", job, "--finish-reason", "length")

    done = stage.quick("cancel", job)

    assert done.err == (
        f"Job {job} (prompts): 1 request cancelled (`quotabatch retry --cancelled "
        f"{job}` queues them again); 1 retry withdrawn (old answers kept).\n"
    )
    assert "1 request waits" in stage.quick("retry", job, "--cancelled").err
    stage.quick("retry", job, "--finish-reason", "length")
    stage.quick("cancel", job)
    stage.quick("retry", job, "--finish-reason", "length")
    again = stage.quick("cancel", job)
    assert ": 1 retry withdrawn (old answers kept).\n" in again.err
    assert ": 0 requests cancelled.\n" in stage.quick("cancel", job).err
    assert told(stage, job) == [
        ("completed", "answer 1", 1),
        ("completed", "answer 2", 1),
        ("cancelled", None, 0),
    ]
    assert served.count == 2


@pytest.mark.long
def test_an_outage_leaves_what_was_asked_anew_waiting(stage: Stage, served: Served):
    """Nothing was wrong with the request, so it is asked when the endpoint is back."""
    job = submit(stage, "long")
    assert stage.run("run").code == 0
    stage.quick("retry", job, "--finish-reason", "length", "--max-attempts", 2)
    served.standin.always = "http:503"
    config = stage.home / "config.toml"
    config.write_text("max_failures = 2\n" + config.read_text())

    done = stage.run("run")

    assert done.code == 69
    assert "mine: 0 answers, 2 calls, in " in done.err
    assert told(stage, job) == [("pending", "answer 1", 3)]
