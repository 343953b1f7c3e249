"""Files in OpenAI's Batch format: what is asked is what stands in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any

import pytest
from stage import MODEL, Stage
from test_story_openai import configure

from batch.standin.service import echo

CHAT = "/v1/chat/completions"


def body(text: str, **params: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **params}


def line(custom_id: str, body: object, **more: Any) -> dict[str, Any]:
    """A line of OpenAI's."""
    frame = {"custom_id": custom_id, "method": "POST", "url": CHAT}
    return {**frame, "body": body, **more}


def jsonl(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Listener:
    """What the endpoint was asked, whole."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, body: Any) -> str:
        self.bodies.append(dict(body))
        return echo(body)


@pytest.mark.parametrize("protocol", ["espai", "openai"])
def test_a_batch_file_is_asked_as_it_stands(stage: Stage, protocol):
    heard = Listener()
    served = stage.serve(answer=heard)
    if protocol == "openai":
        configure(stage, served.url)
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": [1]}}}
    asked = [
        body("eins", temperature=0.2, stream=False, stream_options={"x": 1}),
        body("\u2028 zwei\t铁 😀", response_format=schema, seed=2**53 + 1),
        {**body("drei", tools=[{"type": "function"}]), "model": "other/one"},
    ]
    asked[1]["messages"].insert(0, {"role": "system", "content": "kurz\r\n"})
    rows = [line(f"r{n}", one) for n, one in enumerate(asked[:2])]
    # As Mistral and Fireworks have it; and no --model, for each line names its own.
    rows.append({"custom_id": "r2", "body": asked[2]})
    stage.write("batch.jsonl.gz", gzip.compress(jsonl(rows)))

    done = stage.quick("submit", "batch.jsonl.gz")

    assert done.code == 0, done.err
    assert f"3 requests for {MODEL} and 1 other model" in done.err
    noted = [text for text in done.err.splitlines() if "is not known to have" in text]
    assert len(noted) == (1 if protocol == "espai" else 0)
    assert all("'other/one'" in text for text in noted)
    assert stage.quick("run", "--concurrency", 1).code == 0
    field = "messages" if protocol == "openai" else "message"
    own = {"stream", "stream_options", "messages"}
    for got, want in zip(heard.bodies, asked, strict=True):
        assert json.dumps(got.pop(field)) == json.dumps(want["messages"])
        assert got.pop("api_key", None) is not None or protocol == "openai"
        # Whether it streams is the profile's to say, not the line's.
        assert got.pop("stream", None) is (True if protocol == "openai" else None)
        assert got == {name: want[name] for name in want if name not in own}
    assert [one["custom_id"] for one in stage.export()] == ["r0", "r1", "r2"]
    assert [one["model"] for one in stage.export()] == [MODEL, MODEL, "other/one"]


def test_every_line_that_cannot_be_asked_is_named_with_the_reason(stage: Stage):
    good = body("x")
    no_model = {"messages": good["messages"]}
    rows = [
        (line("a", good), None),
        (line("b", good, url="/v1/embeddings"), "the url is '/v1/embeddings'"),
        (line("c", good, method="GET"), "the method is 'GET'"),
        (line("d", body("x", n=3)), "n is 3"),
        (line("e", {"model": MODEL}), "the body has no 'messages'"),
        (line("a", good), "custom_id 'a' is row 1's too"),
        (line("g", no_model), "the row names no model; --model takes"),
        (line("h", "x"), "'body' is a text, not an object"),
        ({"custom_id": "i", "method": "POST", "url": CHAT}, "the line has no 'body'"),
        (line("j", {**good, "api_key": "k"}), "the row carries an 'api_key'"),
        (line("k", {**good, "model": 3}), "the model is a number"),
    ]
    stage.write("batch.jsonl", jsonl(row for row, _ in rows))

    done = stage.quick("submit", "batch.jsonl")

    assert (done.code, done.out) == (2, "")
    told = done.err.removeprefix("Error: ").splitlines()
    wrong = [(n, why) for n, (_, why) in enumerate(rows, start=1) if why is not None]
    assert len(told) == len(wrong)
    for said, (number, why) in zip(told, wrong, strict=True):
        assert said.startswith(f"batch.jsonl:{number}: {why}")

    # With a model, the line that names none is fine; without the others, all is.
    flags = ("--model", MODEL, "--skip-bad-rows")
    done = stage.quick("submit", "batch.jsonl", *flags)
    assert done.code == 0, done.err
    assert stage.counts() == {"total": 2, "pending": 2}


def test_where_no_row_names_a_model_that_is_said_once(stage: Stage):
    rows = [{"prompt": "a"}, line("b", {"messages": body("x")["messages"]})]
    stage.write("rows.jsonl", jsonl(rows))
    done = stage.quick("submit", "rows.jsonl")
    assert done.code == 2
    assert done.err.startswith("Error: which model? --model takes an id or a name: ")
    assert len(done.err.splitlines()) == 1
    assert stage.quick("status", "--json").json() == []


@pytest.mark.long
def test_a_file_of_several_kinds_is_read_line_by_line(stage: Stage):
    served = stage.serve()
    rows = [
        line("openai", body("eins")),
        {"custom_id": "mistral", "body": body("zwei")},
        {"id": "prompt", "prompt": "drei"},
        {"id": "messages", "messages": body("vier")["messages"], "model": "openchat"},
        {"id": "data", "word": "fünf", "body": {"weight": 3}},
    ]
    stage.write("rows.jsonl", jsonl(rows))
    flags = ("--prompt", "{{ word }}", "--model", MODEL)
    assert stage.quick("submit", "rows.jsonl", *flags).code == 0
    assert stage.quick("run", "--concurrency", 1).code == 0

    prompts = ["eins", "zwei", "drei", "vier", "fünf"]
    assert [call.prompt for call in served.calls] == prompts
    assert [one["custom_id"] for one in stage.export()] == [
        row.get("custom_id") or row["id"] for row in rows
    ]


def test_a_conversation_with_tools_goes_to_chat_completions_only(stage: Stage):
    heard = Listener()
    served = stage.serve(answer=heard)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = [
        {"role": "developer", "content": "kurz"},
        {"role": "user", "content": "wetter?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sonne"},
    ]
    stage.write("tools.jsonl", jsonl([line("a", {**body(""), "messages": messages})]))
    refused = stage.quick("submit", "tools.jsonl")
    assert refused.code == 2
    assert "tools.jsonl:1: messages[0]: the role is 'developer'" in refused.err

    configure(stage, served.url)
    assert stage.quick("submit", "tools.jsonl", "--dry-run").code == 0
    assert stage.quick("submit", "tools.jsonl").code == 0
    assert stage.quick("run").code == 0
    assert heard.bodies[0]["messages"] == messages
    assert '"name": "f"' in stage.quick("show", 1, "a").out


@pytest.mark.long
def test_an_export_can_be_submitted_again(stage: Stage):
    heard = Listener()
    stage.serve(answer=heard)
    rows = [
        line("a", body("eins", temperature=1)),
        {"id": "b", "prompt": "zwei", "model": MODEL},
    ]
    stage.write("rows.jsonl", jsonl(rows))
    assert stage.quick("submit", "rows.jsonl").code == 0
    assert stage.quick("export", 1, "-o", "again.jsonl").code == 0
    assert stage.quick("submit", "again.jsonl").code == 0
    assert stage.quick("export", 2, "-o", "again.jsonl").code == 0
    assert stage.quick("submit", "again.jsonl").code == 0
    assert stage.quick("run", "--concurrency", 1).code == 0
    assert heard.bodies[:2] == heard.bodies[2:4] == heard.bodies[4:]
    assert [one["custom_id"] for one in stage.export(3)] == ["a", "b"]
