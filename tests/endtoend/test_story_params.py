"""Parameters on their way to the endpoint, by what the endpoint received."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from stage import KEY, Stage

MODEL = "qwen2.5:7b"
#: What a request holds that is no parameter.
OURS = {"model", "message", "messages", "api_key", "stream", "stream_options"}


@pytest.fixture(params=["espai", "openai"])
def received(stage: Stage, request) -> list[dict[str, Any]]:
    """The parameters of every call, to a profile with parameters of its own."""
    bodies: list[dict[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> str:
        bodies.append({k: v for k, v in body.items() if k not in OURS})
        return "an answer"

    served = stage.serve(answer=answer)
    (stage.home / "config.toml").write_text(
        f'provider = "mine"\n[profiles.mine]\nprotocol = "{request.param}"\n'
        f'base_url = "{served.url}"\nkey_env = "MINE_API_KEY"\n'
        'quotas = [{ limit = 100, window = "day" }]\n'
        "params = { p = 1, q = 1, r = 1, s = 1 }\n"
    )
    stage.env["MINE_API_KEY"] = KEY
    return bodies


@pytest.mark.long
def test_a_row_wins_over_a_flag_over_the_job_file_over_the_profile(stage, received):
    body = {"messages": [{"role": "user", "content": "b"}], "s": 4}
    rows = [{"prompt": "a"}, {"custom_id": "own", "body": body}]
    stage.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    stage.write(
        "job.toml",
        f'dataset = "rows.jsonl"\nmodel = "{MODEL}"\n[params]\nq = 2\nr = 2\ns = 2\n',
    )
    done = stage.quick("submit", "job.toml", "--param", "r=3", "--param", "s=3")
    assert done.code == 0, done.err

    assert stage.run("run", "--concurrency", 1).code == 0

    assert received == [
        {"p": 1, "q": 2, "r": 3, "s": 3},
        {"p": 1, "q": 2, "r": 3, "s": 4},
    ]


@pytest.mark.long
def test_parameters_that_we_know_nothing_of_arrive_as_they_are(stage, received):
    wanted = {
        "temperature": 0.25,
        "stop": ["。", "\n"],
        "response_format": {"type": "json_object"},
        "of_tomorrow": {"deep": [None, True, 2**53 + 1, "é"]},
        "nothing": None,
        "word": "high",
    }
    flags = [f"{name}={json.dumps(value)}" for name, value in wanted.items()]
    flags[-1] = "word=high"
    job = stage.submit(["a"], *(word for one in flags for word in ("--param", one)))

    assert stage.run("run").code == 0

    assert received == [{"p": 1, "q": 1, "r": 1, "s": 1, **wanted}]
    assert stage.counts(job) == {"total": 1, "completed": 1}


@pytest.mark.long
def test_an_expectation_adds_nothing_to_the_request(stage, received):
    stage.submit(["a"], "--expect-json")
    # The answer is no JSON.
    assert stage.run("run").code == 1
    assert received == [{"p": 1, "q": 1, "r": 1, "s": 1}]


@pytest.mark.long
def test_a_change_of_parameters_holds_for_what_is_asked_from_then_on(stage, received):
    job = stage.submit(["a", "b"])
    assert stage.run("run", "--max-calls", 1).code == 75
    done = stage.quick("retry", job, "--param", "q=9", "--param", "new=1")
    assert done.code == 0, done.err
    assert stage.run("run").code == 0
    assert received == [
        {"p": 1, "q": 1, "r": 1, "s": 1},
        {"p": 1, "q": 9, "r": 1, "s": 1, "new": 1},
    ]
