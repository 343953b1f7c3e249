from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from batch.export import openai
from batch.export.results import Result, Tally

law = settings(derandomize=True, deadline=None, max_examples=150)


def result(**known: Any) -> Result:
    """An answer, but for what is said."""
    fields: dict[str, Any] = {
        "custom_id": "a",
        "status": "completed",
        "completion": "hi",
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "model": "m",
        "attempts": 1,
        "usage": None,
        "finished_at": "2026-11-23T08:01:12.311+00:00",
        "input": "{}",
    }
    return Result(**{**fields, **known})


def failure(**known: Any) -> Result:
    none = {"status": "failed", "completion": None, "finish_reason": None}
    return result(**{**none, **known})


def written(*results: Result, seed: str = "1") -> tuple[list[Any], list[Any], Tally]:
    """The lines of the output and of the errors, read as JSON."""
    out, errors = io.BytesIO(), io.BytesIO()
    tally = openai.write(results, out, errors, seed)
    lines = [file.getvalue().split(b"\n") for file in (out, errors)]
    first, second = ([json.loads(one) for one in part if one] for part in lines)
    return first, second, tally


def body_of(one: Result) -> dict[str, Any]:
    ((line,), errors, _) = written(one)
    assert errors == []
    assert list(line) == ["id", "custom_id", "response", "error"]
    assert (line["custom_id"], line["error"]) == (one.custom_id, None)
    assert line["response"]["status_code"] == 200
    body: dict[str, Any] = line["response"]["body"]
    text = json.dumps(body)
    assert ChatCompletion.model_validate_json(text, strict=True).to_dict() == body
    return body


def message_of(one: Result) -> dict[str, Any]:
    found: dict[str, Any] = body_of(one)["choices"][0]["message"]
    return found


def error_of(one: Result) -> dict[str, Any]:
    (output, (line,), _) = written(one)
    assert output == []
    del line["id"]
    assert line.pop("custom_id") == one.custom_id
    return line


class Response(BaseModel, strict=True, extra="forbid"):
    status_code: int
    request_id: str
    body: dict[str, Any]


class Error(BaseModel, strict=True, extra="forbid"):
    code: str
    message: str


class Line(BaseModel, strict=True, extra="forbid"):
    """A line as readers of both files have it (LiteLLM, vLLM's BatchRequestOutput)."""

    id: str
    custom_id: str
    response: Response | None
    error: Error | None


def test_every_line_of_both_files_has_the_one_shape():
    output, errors, _ = written(
        result(),
        failure(error_code="cut", error_message="it stopped"),
        failure(error_code="http_500", error_message="no", http_status=500),
        failure(status="cancelled"),
    )
    lines = [Line.model_validate(one) for one in output + errors]
    assert len(lines) == 4
    # Each tells how it went, and in one way only.
    assert all((one.response is None) != (one.error is None) for one in lines)


def test_an_answer_is_a_chat_completion():
    body = body_of(result())
    assert body.pop("id").startswith("chatcmpl-")
    assert body == {
        "object": "chat.completion",
        "created": 1795420872,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }


def test_thoughts_stand_beside_the_answer():
    assert message_of(result(reasoning="hm\n"))["reasoning_content"] == "hm\n"


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("given_call", "written_call"),
    [
        (CALL, CALL),
        ({**CALL, "extra": 1}, {**CALL, "extra": 1}),
        # Ollama's arguments are no text, Gemini's calls have no id
        ({"function": {"name": "f", "arguments": {"a": 1}}}, '{"a":1}'),
        ({"function": {"name": "f"}}, "{}"),
        (
            {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}},
            {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}},
        ),
    ],
)
def test_calls_have_what_the_format_demands(given_call, written_call):
    if isinstance(written_call, str):
        function = {"name": "f", "arguments": written_call}
        written_call = {"function": function, "id": "call_0", "type": "function"}
    one = result(completion="", tool_calls=json.dumps([given_call]))
    message = message_of(one)
    assert message["tool_calls"] == [written_call]
    assert message["content"] is None
    assert message_of(result(tool_calls="[{}]"))["content"] == "hi"


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
        ("unknown", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("max_output_tokens", "length"),
        ("eos", "stop"),
    ],
)
def test_a_reason_is_one_of_the_formats_and_an_other_is_kept_beside_it(own, reason):
    (choice,) = body_of(result(finish_reason=own))["choices"]
    assert choice["finish_reason"] == reason
    assert choice.get("native_finish_reason", reason) == own


@pytest.mark.parametrize(
    ("usage", "kept"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, 9),
        ({"prompt_tokens": 1, "completion_tokens": 2}, 3),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": None}, 3),
        ({"prompt_tokens": 1.5, "completion_tokens": 2, "total_tokens": 3}, None),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": "3"}, None),
        ({"total_tokens": 3}, None),
        ({"prompt_tokens": 2**63, "completion_tokens": 2**63}, None),
    ],
)
def test_a_usage_has_its_three_counts_or_is_none(usage, kept):
    body = body_of(result(usage=json.dumps(usage)))
    assert body.get("usage", {}).get("total_tokens") == kept


def test_details_of_a_usage_are_kept_where_they_are_counts():
    usage: dict[str, Any] = {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "queue_time": 0.5,
        "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": "many"},
    }
    body = body_of(result(usage=json.dumps(usage)))
    del usage["completion_tokens_details"]
    assert body["usage"] == usage


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_a_failure_by_http_has_its_status_and_the_error_as_the_body(status, kind):
    one = failure(
        error_code=f"http_{status}",
        error_message="no",
        http_status=status,
        endpoint_code="its_own",
    )
    line = error_of(one)
    assert line["response"].pop("request_id").startswith("req_")
    error = {"message": "no", "type": kind, "param": None, "code": "its_own"}
    assert line == {
        "response": {"status_code": status, "body": {"error": error}},
        "error": None,
    }


@pytest.mark.parametrize("status", [None, 200])
def test_another_failure_has_no_response(status):
    one = failure(error_code="cut", error_message="it stopped", http_status=status)
    assert error_of(one) == {
        "response": None,
        "error": {"code": "cut", "message": "it stopped"},
    }


def test_a_cancelled_request_is_an_error():
    line = error_of(failure(status="cancelled"))
    assert line["response"] is None
    assert line["error"]["code"] == "batch_cancelled"


def test_what_waits_is_in_neither_file_and_is_counted():
    waiting = [result(status=status) for status in ("pending", "running", "pending")]
    output, errors, tally = written(*waiting, result(), failure())
    assert (len(output), len(errors)) == (1, 1)
    assert tally == Tally(written=1, failures=1, waiting=3)


def test_without_a_file_for_them_failures_are_counted():
    out = io.BytesIO()
    assert openai.write([failure(), result()], out, None, "1") == Tally(1, 1, 0)
    assert out.getvalue().count(b"\n") == 1


def test_ids_are_the_same_every_time_and_no_two_are_the_same():
    some = [result(custom_id=name) for name in "abc"]
    one, two = written(*some), written(*some, seed="2")
    assert written(*some) == one
    ids = [
        found
        for line in one[0] + two[0]
        for found in (
            line["id"],
            line["response"]["request_id"],
            line["response"]["body"]["id"],
        )
    ]
    assert len(set(ids)) == len(ids) == 18


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=6,
)
FUNCTIONS = st.fixed_dictionaries(
    {}, optional={"name": JSON, "arguments": JSON, "more": JSON}
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "type": JSON | st.sampled_from(["function", "custom"]),
        "function": JSON | FUNCTIONS,
        "custom": JSON,
    },
)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.integers(0, 9) | JSON,
        "completion_tokens": st.integers(0, 9) | JSON,
        "total_tokens": st.integers(0, 9) | JSON,
        "prompt_tokens_details": JSON,
        "completion_tokens_details": st.dictionaries(TEXT, st.integers()) | JSON,
    },
)


@law
@given(
    TEXT,
    st.none() | st.lists(CALLS, min_size=1, max_size=3),
    st.none() | USAGES,
    st.none() | TEXT,
    TEXT,
)
@pytest.mark.long
def test_whatever_an_endpoint_said_the_line_is_valid(text, calls, usage, thoughts, end):
    body = body_of(
        result(
            completion=text,
            tool_calls=calls and json.dumps(calls),
            usage=usage and json.dumps(usage),
            reasoning=thoughts,
            finish_reason=end or None,
        )
    )
    (choice,) = body["choices"]
    assert (choice["message"]["content"] or "") == text
    assert len(choice["message"].get("tool_calls", [])) == len(calls or [])
