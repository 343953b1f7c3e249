"""OpenAI's Batch output: who reads that can read ours."""

from __future__ import annotations

import itertools
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from stage import KEY, MODEL, Stage
from test_story_batchfiles import Listener, body, jsonl, line
from test_story_openai import configure

from batch.standin.service import echo

OUTPUT = ("--format", "openai")


def submit(stage: Stage, *rows: object) -> None:
    stage.write("batch.jsonl", jsonl(rows))
    done = stage.quick("submit", "batch.jsonl", "--no-dedupe")
    assert done.code == 0, done.err


def lines_of(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_bytes().split(b"\n") if text]


def answers(path: Path) -> dict[str, ChatCompletion]:
    """The output as a reader of OpenAI's takes it, by custom_id."""
    found = {}
    for one in lines_of(path):
        assert list(one) == ["id", "custom_id", "response", "error"]
        assert one["id"].startswith("batch_req_")
        assert one["error"] is None
        response = one["response"]
        assert response["status_code"] == 200
        text = json.dumps(response["body"])
        found[one["custom_id"]] = ChatCompletion.model_validate_json(text, strict=True)
    return found


@pytest.mark.parametrize("protocol", ["espai", "openai"])
@pytest.mark.long
def test_a_batch_file_comes_back_as_batch_output(stage: Stage, protocol):
    served = stage.serve(faults={2: "http:400"}, keys=frozenset({KEY}))
    if protocol == "openai":
        configure(stage, served.url, stream_usage=True)
    names = ["z", "a b", "铁"]
    submit(stage, *(line(name, body(f"frage {name}")) for name in names))
    assert stage.quick("run", "--concurrency", 1).code == 1

    words = ("export", 1, *OUTPUT, "-o", "out.jsonl", "--errors", "errors.jsonl")
    done = stage.quick(*words)

    assert (done.code, done.out) == (0, "")
    assert "2 results written to out.jsonl." in done.err
    assert "1 failure written to errors.jsonl." in done.err
    found = answers(stage.folder / "out.jsonl")
    assert list(found) == ["z", "铁"]
    results = {one["custom_id"]: one for one in stage.export()}
    for name, answer in found.items():
        (choice,) = answer.choices
        assert choice.message.content == served.answer_to(f"frage {name}")
        assert choice.finish_reason == "stop"
        assert answer.model == MODEL
        assert (answer.usage is not None) == (protocol == "openai")
        assert results[name]["completion"] == choice.message.content
    (failed,) = lines_of(stage.folder / "errors.jsonl")
    assert (failed["custom_id"], failed["error"]) == ("a b", None)
    assert failed["response"]["status_code"] == 400
    error = failed["response"]["body"]["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"] == results["a b"]["error"]["message"]

    before = [(stage.folder / name).read_bytes() for name in (words[5], words[7])]
    assert stage.quick(*words).code == 0
    assert [(stage.folder / n).read_bytes() for n in (words[5], words[7])] == before


@pytest.mark.long
def test_what_is_no_answer_is_told_with_the_way_to_it(stage: Stage):
    # The first is filtered inside a 200 reply, the last two are never asked.
    served = stage.serve(faults={1: "finish:content_filter"})
    configure(stage, served.url)
    submit(stage, *(line(str(n), body(str(n))) for n in range(4)))
    assert stage.quick("run", "--max-calls", 2, "--concurrency", 1).code in (1, 75)

    waiting = stage.quick("export", 1, *OUTPUT)
    assert [json.loads(text)["custom_id"] for text in waiting.out.splitlines()] == ["1"]
    assert waiting.err == (
        "1 failure is left out: `--errors FILE` writes them.\n"
        "2 requests still wait for an answer, and are left out.\n"
    )

    assert stage.quick("cancel", 1).code == 0
    done = stage.quick("export", 1, *OUTPUT, "--errors", "errors.jsonl")
    assert done.err == "3 failures written to errors.jsonl.\n"
    assert done.out == waiting.out
    lines = lines_of(stage.folder / "errors.jsonl")
    assert [(one["custom_id"], one["error"]["code"]) for one in lines] == [
        ("0", "content_filter"),
        ("2", "batch_cancelled"),
        ("3", "batch_cancelled"),
    ]
    assert all(one["response"] is None for one in lines)


def test_a_repetition_fails_as_what_it_repeats_has_failed(stage: Stage):
    stage.serve(always="http:400")
    stage.write("batch.jsonl", jsonl([line(name, body("gleich")) for name in "ab"]))
    assert stage.quick("submit", "batch.jsonl").code == 0
    assert stage.quick("run").code == 1
    words = ("export", 1, *OUTPUT, "--errors", "errors.jsonl")
    assert stage.quick(*words).out == ""
    lines = lines_of(stage.folder / "errors.jsonl")
    assert [one["response"]["status_code"] for one in lines] == [400, 400]
    assert len({one["id"] for one in lines}) == 2


def test_flags_that_do_not_go_together_are_refused_and_nothing_is_written(stage: Stage):
    submit(stage, line("a", body("x")))
    stage.write("out.jsonl", "what was there\n")
    for flags, says in (
        (("--errors", "e.jsonl"), "--errors is for --format openai"),
        ((*OUTPUT, "--only", "failed"), "leave --only out"),
        ((*OUTPUT, "--errors", "./out.jsonl"), "are the same file"),
        (("--format", "xml"), "one of jsonl, csv, openai, parquet"),
    ):
        done = stage.quick("export", 1, "-o", "out.jsonl", *flags)
        assert done.code == 2, flags
        assert says in done.err
        assert len(done.err.splitlines()) == 1
    words = ("export", 1, *OUTPUT, "--force", "-o", "out.jsonl")
    missing = stage.quick(*words, "--errors", "no/such/folder/e.jsonl")
    assert missing.code == 1
    assert "cannot write no/such/folder/e.jsonl" in missing.err
    assert (stage.folder / "out.jsonl").read_text() == "what was there\n"
    left = sorted(path.name for path in stage.folder.iterdir())
    assert left == ["batch.jsonl", "home", "out.jsonl"]


@pytest.mark.long
def test_failures_may_go_into_a_pipe(stage: Stage):
    stage.serve(always="http:400")
    submit(stage, line("a", body("x")))
    assert stage.quick("run").code == 1
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reading = threading.Thread(
        target=lambda: received.append(pipe.read_text()), daemon=True
    )
    reading.start()
    words = ("export", 1, *OUTPUT, "-o", "/dev/null", "--errors", pipe)
    assert stage.quick(*words).code == 0
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    reading.join(10)
    assert [json.loads(text)["custom_id"] for text in received] == ["a"]


# Whatever a body holds.

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | TEXT
    | st.integers(-(2**63), 2**64 - 1)
    # Not -0.0 and subnormals: they are written otherwise, and mean the same.
    | st.floats(-1e300, 1e300, allow_subnormal=False).filter(bool),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": TEXT.filter(str.strip),
    },
    optional={"name": TEXT},
)
#: What a body sets that is not its own to set, or that makes it another request.
SET = ("messages", "message", "prompt", "model", "stream", "stream_options", "api_key")
PARAMS = st.dictionaries(
    TEXT.filter(lambda name: name not in (*SET, "n")), VALUES, max_size=4
)


REQUEST = st.tuples(PARAMS, st.lists(MESSAGE, max_size=3), TEXT.filter(str.strip))


@pytest.mark.long
def test_any_body_is_asked_as_it_stands_and_comes_back_answered(stage: Stage):
    heard = Listener()
    served = stage.serve(limit=None, answer=heard)
    configure(stage, served.url, limit=10**6)
    out = stage.folder / "out.jsonl"
    jobs = itertools.count(1)

    @settings(derandomize=True, deadline=None, max_examples=4)
    @given(st.lists(REQUEST, min_size=10, max_size=30))
    def law(drawn: list[Any]) -> None:
        asked = {
            f"{number} {text}": {
                **params,
                "messages": [*before, {"role": "user", "content": text}],
                "model": MODEL,
            }
            for number, (params, before, text) in enumerate(drawn)
        }
        del heard.bodies[:]
        submit(stage, *(line(name, one) for name, one in asked.items()))
        assert stage.quick("run", "--concurrency", 1).code == 0
        for got, want in zip(heard.bodies, asked.values(), strict=True):
            assert got == {**want, "stream": True}
            assert json.dumps(got["messages"]) == json.dumps(want["messages"])

        exported = stage.quick("export", next(jobs), *OUTPUT, "--force", "-o", out)
        assert exported.code == 0
        found = answers(out)
        assert list(found) == list(asked)
        for answer, want in zip(found.values(), asked.values(), strict=True):
            assert answer.choices[0].message.content == echo(want)

    law()
