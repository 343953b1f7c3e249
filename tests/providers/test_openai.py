from __future__ import annotations

import json

import pytest
from asking import KEY
from chatting import (
    DONE,
    MODEL,
    answer,
    chunk,
    decoded,
    event,
    failed,
    stream,
    usage,
    whole,
)
from hypothesis import given
from hypothesis import strategies as st

from batch.clock import SystemClock
from batch.core.model import Completion, Failure
from batch.core.streams import NotTextError
from batch.core.verdict import VerdictKind, judge
from batch.providers.profiles import merged

ROLE = chunk("", role="assistant")
STOP = chunk(None, "stop")
#: As a server writes them that counts in UTF-16.
HALVES = "".join(
    chunk("@").replace('"@"', half) for half in ('"\\ud83e"', '"\\uddea!"')
)


def call(index: int | None = None, **fields: object) -> dict[str, object]:
    place = {} if index is None else {"index": index}
    return {**place, **fields}


def function(name: str | None, arguments: str) -> dict[str, str]:
    return {**({"name": name} if name else {}), "arguments": arguments}


def wanted(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": function(name, arguments)}


PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'

#: By what they show: a stream, and what it comes to.
ANSWERS: dict[str, tuple[str, Completion]] = {
    "an ordinary one": (stream("你", "好", "!"), answer("你好!")),
    "CRLF": (stream("你", "好").replace("\n", "\r\n"), answer("你好")),
    "CR": (stream("你", "好").replace("\n", "\r"), answer("你好")),
    "a byte order mark": ("\ufeff" + stream("hi"), answer("hi")),
    "line ends that are none": (
        stream("a\u2028b\x85c", "\r\n"),
        answer("a\u2028b\x85c\r\n"),
    ),
    "comments": (
        ": OPENROUTER PROCESSING\n\n: ping\n\n"
        + ROLE
        + ":\n"
        + chunk("hi")
        + ": keepalive\n\n"
        + STOP
        + DONE,
        answer("hi"),
    ),
    "data of several lines": (
        'data: {"choices": [{"delta":\ndata: {"content": "hi"},\n'
        'data: "finish_reason": "stop"}]}\n\n' + DONE,
        answer("hi", model="asked-for"),
    ),
    "no blank behind the colon, other fields": (
        "id: 1\nevent: message\nretry: 9\n"
        + (chunk("hi") + STOP + DONE).replace("data: ", "data:"),
        answer("hi"),
    ),
    "no [DONE]": (ROLE + chunk("hi") + STOP, answer("hi")),
    "text behind [DONE]": (
        stream("hi")[:-2] + " bye\n\n" + chunk("more") + "data: {broken\n\n",
        answer("hi"),
    ),
    "no last blank line": ((chunk("hi") + STOP)[:-1], answer("hi")),
    "no last line end": ((chunk("hi") + STOP)[:-2], answer("hi")),
    "the end in the last text": (chunk("hi", "stop"), answer("hi")),
    "usage without choices": (
        chunk("hi") + STOP + event({"choices": [], "usage": usage(3)}) + DONE,
        answer("hi", usage=usage(3)),
    ),
    "usage beside the text, the last is right": (
        chunk("hi", beside={"usage": usage(1)})
        + chunk(None, "stop", beside={"usage": usage(3)})
        + event({"choices": [], "usage": None}),
        answer("hi", usage=usage(3)),
    ),
    "usage of Groq": (
        chunk("hi") + chunk(None, "stop", beside={"x_groq": {"usage": usage(3)}}),
        answer("hi", usage=usage(3)),
    ),
    "usage of Moonshot": (
        chunk("hi")
        + event(
            {"choices": [{"delta": {}, "finish_reason": "stop", "usage": usage(3)}]}
        ),
        answer("hi", usage=usage(3)),
    ),
    "a filter of Azure first": (
        event({"choices": [], "prompt_filter_results": [{}], "model": ""})
        + stream("hi"),
        answer("hi"),
    ),
    "contents that are null, absent, empty": (
        chunk(None, role="assistant")
        + event({"choices": [{"delta": {"content": None}, "finish_reason": None}]})
        + event({"choices": [{"delta": None, "finish_reason": ""}]})
        + event({"choices": [{}]})
        + event({"choices": None})
        + chunk("hi")
        + STOP,
        answer("hi"),
    ),
    "reasoning of DeepSeek": (
        chunk(None, reasoning_content="hm", role="assistant")
        + chunk(None, reasoning_content="!")
        + chunk("hi", reasoning_content=None)
        + STOP,
        answer("hi", reasoning="hm!"),
    ),
    "reasoning of OpenRouter": (
        chunk("", reasoning="hm", reasoning_details=[{"text": "hm"}])
        + chunk("hi", reasoning=None)
        + STOP,
        answer("hi", reasoning="hm"),
    ),
    "reasoning by two names": (
        chunk(None, reasoning="hm", reasoning_content="hm") + chunk("hi", "stop"),
        answer("hi", reasoning="hm"),
    ),
    "reasoning of Mistral": (
        chunk([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])
        + chunk([{"type": "text", "text": "h"}, {"type": "reference"}])
        + chunk("i", "stop"),
        answer("hi", reasoning="hm"),
    ),
    "<think> is text": (
        stream("<think>hm", "</think>", "hi"),
        answer("<think>hm</think>hi"),
    ),
    "the limit of tokens": (
        stream("hi", finish_reason="length"),
        answer("hi", finish_reason="length"),
    ),
    "an end that a later chunk leaves open": (
        chunk("hi", "stop")
        + event({"model": "", "choices": [{"delta": {}, "finish_reason": ""}]}),
        answer("hi"),
    ),
    "an end of another name": (
        stream("hi", finish_reason="eos"),
        answer("hi", finish_reason="eos"),
    ),
    "tool calls in fragments": (
        chunk(
            None,
            role="assistant",
            tool_calls=[
                call(0, id="a", type="function", function=function("weather", ""))
            ],
        )
        + chunk(None, tool_calls=[call(0, function=function(None, PARIS[:5]))])
        + chunk(
            None,
            tool_calls=[
                call(0, function=function(None, PARIS[5:])),
                call(1, id="b", type="function", function=function("weather", ROME)),
            ],
        )
        + chunk(None, "tool_calls")
        + DONE,
        answer(
            "",
            finish_reason="tool_calls",
            tool_calls=[wanted("a", "weather", PARIS), wanted("b", "weather", ROME)],
        ),
    ),
    "tool calls whose every fragment has another id (vLLM)": (
        chunk(
            None,
            tool_calls=[
                call(0, id="a", type="function", function=function("weather", ""))
            ],
        )
        + chunk(None, tool_calls=[call(0, id="x", function=function(None, PARIS[:5]))])
        + chunk(None, tool_calls=[call(0, id="y", function=function(None, PARIS[5:]))])
        + chunk(None, "tool_calls"),
        answer(
            "", finish_reason="tool_calls", tool_calls=[wanted("a", "weather", PARIS)]
        ),
    ),
    "whole tool calls at one index, or none (Gemini)": (
        chunk(
            None,
            tool_calls=[
                call(0, **wanted("a", "weather", PARIS)),
                call(0, **wanted("b", "weather", ROME)),
            ],
        )
        + chunk(
            None,
            tool_calls=[
                call(**wanted("", "weather", PARIS)),
                call(**wanted("", "weather", ROME)),
            ],
        )
        + STOP,
        answer(
            "",
            tool_calls=[
                wanted(id, "weather", city)
                for id, city in [("a", PARIS), ("b", ROME), ("", PARIS), ("", ROME)]
            ],
        ),
    ),
    "text and a tool call, its name repeated": (
        chunk("let me see", tool_calls=[call(0, **wanted("a", "weather", PARIS[:5]))])
        + chunk(None, tool_calls=[call(0, **wanted("a", "weather", PARIS[5:]))])
        + chunk(None, "tool_calls"),
        answer(
            "let me see",
            finish_reason="tool_calls",
            tool_calls=[wanted("a", "weather", PARIS)],
        ),
    ),
    "a function call of old": (
        chunk(None, function_call=function("weather", PARIS[:5]))
        + chunk(None, function_call=function(None, PARIS[5:]))
        + chunk(None, "function_call"),
        answer(
            "",
            finish_reason="function_call",
            tool_calls=[{"function": function("weather", PARIS), "type": "function"}],
        ),
    ),
    "more choices than one": (
        event(
            {
                "model": MODEL,
                "choices": [
                    {"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"},
                    {"index": 0, "delta": {"content": "hi"}, "finish_reason": None},
                ],
            }
        )
        + STOP,
        answer("hi"),
    ),
    "a message at the end that says it all again": (
        chunk("hi")
        + event({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}),
        answer("hi"),
    ),
    "a whole reply as one event": (
        f"data: {whole({'content': 'hi'}, usage=usage(3))}\n\n{DONE}",
        answer("hi", usage=usage(3)),
    ),
    "a character cut in two": (
        'data: {"choices": [{"delta": {"content": "\\ud83e"}}]}\n\n'
        'data: {"choices": [{"delta": {"content": "\\uddea!"}}]}\n\n' + STOP,
        answer("🧪!"),
    ),
    "a character cut in two by chunks of the usual kind": (
        f"{chunk('hi')}{HALVES}{STOP}",
        answer("hi🧪!"),
    ),
    "an error that is none": (
        chunk("hi", beside={"error": None, "success": True, "code": 0}) + STOP,
        answer("hi"),
    ),
    "events of other kinds": (
        'event: ping\ndata: {"type": "ping"}\n\ndata: ping\n\ndata:\n\n' + stream("hi"),
        answer("hi"),
    ),
    "one object, though a stream was asked for": (
        whole({"role": "assistant", "content": "hi"}, usage=usage(3)),
        answer("hi", usage=usage(3)),
    ),
    "one object, with all that there is": (
        "\ufeff\r\n "
        + whole(
            {
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [wanted("a", "weather", PARIS)],
            },
            "tool_calls",
        )
        + "\n",
        answer(
            "",
            finish_reason="tool_calls",
            reasoning="hm",
            tool_calls=[wanted("a", "weather", PARIS)],
        ),
    ),
}

QUOTA = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000"

#: By what they show: a stream, the failure's code, what it says, what is done then.
FAILURES: dict[str, tuple[str, str, str, VerdictKind]] = {
    "nothing": ("", "empty", "the answer is empty", VerdictKind.RETRY),
    "blanks": ("\r\n \n", "empty", "the answer is empty", VerdictKind.RETRY),
    "only [DONE]": (
        DONE,
        "unfinished",
        "the reply holds no answer: data: [DONE]",
        VerdictKind.RETRY,
    ),
    "only comments": (
        ": ping\n\n",
        "unfinished",
        "the reply holds no answer: : ping",
        VerdictKind.RETRY,
    ),
    "a role and no more": (
        ROLE,
        "unfinished",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "no finish_reason": (
        ROLE + chunk("hi") + DONE,
        "unfinished",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "the end of another choice": (
        chunk("hi") + event({"choices": [{"index": 1, "finish_reason": "stop"}]}),
        "unfinished",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "an end and no text": (
        stream(""),
        "empty",
        "the answer is empty",
        VerdictKind.RETRY,
    ),
    "an end and blanks": (
        stream("\n", "\u3000"),
        "empty",
        "the answer is empty",
        VerdictKind.RETRY,
    ),
    "only reasoning": (
        chunk(None, reasoning_content="hm" * 600) + STOP,
        "empty",
        "the answer is empty: 1,200 characters of reasoning and no text",
        VerdictKind.RETRY,
    ),
    "only reasoning, to the limit": (
        chunk(None, reasoning="hm") + chunk(None, "length"),
        "empty",
        "the answer is empty: 2 characters of reasoning and no text; it reached its "
        "limit of tokens, which may be set too low",
        VerdictKind.RETRY,
    ),
    "a filter": (
        stream("hi", finish_reason="content_filter"),
        "content_filter",
        "the answer was filtered",
        VerdictKind.FAIL,
    ),
    "a filter of Gemini": (
        stream("hi", finish_reason="content_filter: RECITATION"),
        "content_filter",
        "the answer was filtered",
        VerdictKind.FAIL,
    ),
    "a filter of Zhipu": (
        stream(finish_reason="sensitive"),
        "content_filter",
        "the answer was filtered",
        VerdictKind.FAIL,
    ),
    "a refusal": (
        chunk(None, refusal="I can", role="assistant")
        + chunk(None, refusal="'t.")
        + STOP,
        "refusal",
        "the model refuses: I can't.",
        VerdictKind.FAIL,
    ),
    "an end that is an error": (
        stream("hi", finish_reason="error"),
        "endpoint_error",
        "the endpoint reports: it broke off (error) (code error)",
        VerdictKind.RETRY,
    ),
    "an end of DeepSeek": (
        stream("hi", finish_reason="insufficient_system_resource"),
        "endpoint_error",
        "the endpoint reports: it broke off (insufficient_system_resource) "
        "(code insufficient_system_resource)",
        VerdictKind.RETRY,
    ),
    "an error of OpenRouter": (
        chunk("hi")
        + event(
            {
                "id": "gen-1",
                "error": {"code": 429, "message": QUOTA},
                "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
            }
        )
        + DONE,
        "endpoint_error",
        f"the endpoint reports: {QUOTA} (code 429)",
        VerdictKind.EXHAUSTED,
    ),
    "an upstream of OpenRouter": (
        event(
            {
                "error": {
                    "code": 429,
                    "message": "Provider returned error",
                    "metadata": {"raw": "model is limited to 1 request per day"},
                }
            }
        ),
        "endpoint_error",
        "the endpoint reports: Provider returned error (code 429)",
        VerdictKind.RETRY,
    ),
    "an error of a choice": (
        event({"choices": [{"error": {"code": 502, "message": "bad gateway"}}]}),
        "endpoint_error",
        "the endpoint reports: bad gateway (code 502)",
        VerdictKind.RETRY,
    ),
    "an error of vLLM": (
        chunk("hi")
        + event({"object": "error", "message": "no such model", "code": 404})
        + DONE,
        "endpoint_error",
        "the endpoint reports: no such model (code 404)",
        VerdictKind.STOP,
    ),
    "an error of OpenAI": (
        event(
            {
                "error": {
                    "message": "Incorrect API key",
                    "type": "invalid_request_error",
                    "code": "invalid_api_key",
                }
            }
        ),
        "endpoint_error",
        "the endpoint reports: Incorrect API key (code invalid_api_key)",
        VerdictKind.STOP,
    ),
    "an error that has only a type": (
        event({"error": {"message": "Sorry", "type": "server_error", "code": None}}),
        "endpoint_error",
        "the endpoint reports: Sorry (code server_error)",
        VerdictKind.RETRY,
    ),
    "an error that is a text": (
        event({"error": "the model is overloaded", "choices": []}),
        "endpoint_error",
        "the endpoint reports: the model is overloaded",
        VerdictKind.RETRY,
    ),
    "an error of DashScope": (
        event({"error": {"code": "Throttling.RateQuota", "message": "slow down"}}),
        "endpoint_error",
        "the endpoint reports: slow down (code Throttling.RateQuota)",
        VerdictKind.RETRY,
    ),
    "an error of Gemini, in a list": (
        '[{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}]',
        "endpoint_error",
        "the endpoint reports: bad (code 400)",
        VerdictKind.FAIL,
    ),
    "an error of Gemini, in a list, as an event": (
        event([{"error": {"code": 400, "message": "bad"}}]),
        "endpoint_error",
        "the endpoint reports: bad (code 400)",
        VerdictKind.FAIL,
    ),
    "an error of SiliconFlow, as one object": (
        '{"code": 50602, "message": "TPM limit reached", "data": null}',
        "endpoint_error",
        "the endpoint reports: TPM limit reached (code 50602)",
        VerdictKind.RETRY,
    ),
    "an event of the kind error": (
        chunk("hi") + 'event: error\ndata: {"message": "broken", "status": 503}\n\n',
        "endpoint_error",
        "the endpoint reports: broken",
        VerdictKind.RETRY,
    ),
    "an event of the kind error, in words": (
        chunk("hi") + "event: error\ndata: out of\ndata: memory\n\n",
        "endpoint_error",
        "the endpoint reports: out of memory",
        VerdictKind.RETRY,
    ),
    "two errors": (
        event({"error": {"message": "first", "code": 429}})
        + event({"error": {"message": "then", "code": 401}}),
        "endpoint_error",
        "the endpoint reports: first (code 429)",
        VerdictKind.RETRY,
    ),
    "an error behind the end": (
        stream("hi").removesuffix(DONE) + event({"error": {"message": "late"}}),
        "endpoint_error",
        "the endpoint reports: late",
        VerdictKind.RETRY,
    ),
    "an event that is broken": (
        chunk("hi") + 'data: {"choices": [{"delta"\n\n' + STOP + DONE,
        "garbled",
        "an event of the stream is not JSON",
        VerdictKind.RETRY,
    ),
    "a NUL": (
        stream("h\0i"),
        "not_text",
        "the answer is not text (a NUL character)",
        VerdictKind.RETRY,
    ),
    "half a character": (
        'data: {"choices": [{"delta": {"content": "a\\ud83e"}}]}\n\n' + STOP,
        "not_text",
        "the answer is not text (half of a pair)",
        VerdictKind.RETRY,
    ),
    "a page": (
        "<!DOCTYPE html><title>502 Bad Gateway</title>",
        "html",
        "the endpoint sent an HTML page (502 Bad Gateway), not an answer",
        VerdictKind.RETRY,
    ),
    "words": (
        "upstream connect error",
        "unfinished",
        "the reply holds no answer: upstream connect error",
        VerdictKind.RETRY,
    ),
    "an object that is something else": (
        '{"answer": 42}',
        "garbled",
        'the reply holds no answer: {"answer": 42}',
        VerdictKind.RETRY,
    ),
    "an object without an end": (
        whole({"content": "hi"}, None),
        "garbled",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "an object of broken JSON": (
        '{"choices": [}',
        "garbled",
        'the reply is no chat completion: {"choices": [}',
        VerdictKind.RETRY,
    ),
    "a list": (
        "[1, 2]",
        "garbled",
        "the reply is no chat completion: [1, 2]",
        VerdictKind.RETRY,
    ),
}


def kind(got: Failure) -> VerdictKind:
    mine = {"protocol": "openai", "base_url": "http://localhost"}
    quotas = [{"limit": 1, "window": "day"}]
    rules = merged({"mine": {**mine, "quotas": quotas}}, "test")["mine"].rules
    return judge(got, rules, SystemClock().now()).kind


@pytest.mark.parametrize("name", ANSWERS)
def test_this_is_an_answer(name):
    recorded, expected = ANSWERS[name]
    assert decoded(recorded) == expected


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.fault(32)
def test_this_is_none(name):
    recorded, code, message, verdict = FAILURES[name]
    got = failed(decoded(recorded), code)
    assert got.message == message
    assert kind(got) is verdict


RECORDED = {name: one[0] for name, one in [*ANSWERS.items(), *FAILURES.items()]}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.fault(34)
def test_the_cuts_do_not_matter(name):
    data = RECORDED[name].encode()
    expected = decoded(data)
    for place in range(len(data) + 1):
        assert decoded(data, [place]) == expected, place
    assert decoded(data, list(range(len(data)))) == expected


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.fault(28)
def test_a_beginning_is_an_answer_only_where_the_end_was_seen(name):
    recorded, expected = ANSWERS[name]
    data = recorded.encode()
    whole_from = None
    for size in range(len(data) + 1):
        got = decoded(data[:size], framed=False)
        if isinstance(got, Completion):
            whole_from = size if whole_from is None else whole_from
            assert (got.text, got.tool_calls) == (expected.text, expected.tool_calls)
        else:
            assert whole_from is None, size
            assert got.code in ("unfinished", "empty")
    assert whole_from is not None
    assert b"finish_reason" in data[:whole_from]


# Laws.

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
cuts = st.lists(st.integers(0, 2000), max_size=12)


@given(st.lists(texts, max_size=6), cuts, st.sampled_from(["\n", "\r", "\r\n"]))
def test_any_text_comes_out_as_it_went_in_wherever_it_is_cut(pieces, at, end):
    data = stream(*pieces, "答").replace("\n", end)
    heard: list[str] = []
    got = decoded(data, at, heard=heard, key="")
    assert got == answer("".join(pieces) + "答")
    assert "".join(heard) == "".join(pieces) + "答"


@given(st.lists(texts, max_size=4), texts, cuts)
def test_reasoning_is_kept_apart_wherever_it_is_cut(pieces, thought, at):
    data = "".join(chunk(None, reasoning_content=piece) for piece in pieces)
    data += chunk(thought, reasoning_content="hm") + chunk("答", "stop")
    assert decoded(data, at, key="") == answer(
        thought + "答", reasoning="".join(pieces) + "hm"
    )


@given(st.binary(max_size=60), st.sampled_from([stream("hi"), ROLE, "{", ""]), cuts)
def test_no_bytes_whatever_bring_it_down_or_depend_on_the_cuts(noise, before, at):
    def outcome(places: list[int]) -> object:
        try:
            return decoded(before.encode() + noise, places)
        except NotTextError as error:
            return str(error)

    told, cut = outcome([]), outcome(at)
    # Bad bytes end the call where they come: whether the end or the next piece finds
    # them is a matter of the cuts.
    bad = [one for one in (told, cut) if isinstance(one, str)]
    if bad:
        bad += [one.message for one in (told, cut) if isinstance(one, Failure)]
        assert all("not UTF-8" in one for one in bad) or before == stream("hi")
    else:
        assert told == cut


#: Names that mean something, to put the wrong things under.
NAMES = [
    *("choices", "delta", "message", "content", "finish_reason", "index", "error"),
    *("code", "tool_calls", "function", "id", "name", "arguments", "reasoning"),
    *("refusal", "usage", "model"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), st.booleans())
def test_no_json_whatever_brings_it_down(bodies, streamed):
    data = "".join(map(event, bodies)) if streamed else json.dumps(bodies)
    got = decoded(data)
    if isinstance(got, Completion):
        # What is kept can be written down.
        json.dumps([got.usage, got.tool_calls, got.reasoning]).encode()
        got.text.encode()
    else:
        got.message.encode()
        got.partial.encode()


@given(st.dictionaries(st.sampled_from(["index", "delta", "message"]), json_values))
def test_no_choice_whatever_brings_it_down(choice):
    ended = {"finish_reason": "stop", **choice}
    got = decoded(event({"choices": [ended]}) + event({"choices": [ended]}))
    if isinstance(got, Completion):
        json.dumps([got.usage, got.tool_calls, got.reasoning]).encode()
        got.text.encode()


# What else holds.


def test_an_answer_at_the_limit_of_tokens_fails_where_that_is_wanted():
    data = stream("hi", finish_reason="length")
    got = failed(decoded(data, fail_on_length=True), "length")
    assert got.partial == "hi"
    assert kind(got) is VerdictKind.FAIL


@pytest.mark.parametrize("reason", ["content_filter", "error", None])
def test_what_came_before_a_failure_is_kept(reason):
    got = decoded(stream("so ", "far", finish_reason=reason))
    assert isinstance(got, Failure)
    assert got.partial == "so far"


@pytest.mark.parametrize(
    ("code", "status"),
    [(429, 429), ("429", 429), (503, 503), (200, 200), (4002, 200), ("E1", 200)],
)
def test_the_code_of_an_error_may_be_an_http_status(code, status):
    data = event({"error": {"message": "no", "code": code}})
    got = failed(decoded(data), "endpoint_error")
    assert (got.status, got.endpoint_code) == (status, str(code))


def test_an_error_may_tell_its_status_beside_its_code():
    told = {"message": "no", "code": "slow_down", "status": 429}
    got = failed(decoded(event({"error": told})), "endpoint_error")
    assert (got.status, got.endpoint_code) == (429, "slow_down")


def test_the_headers_that_an_error_tells_of_are_judged_as_headers():
    headers = {"X-RateLimit-Reset": "1", "Retry-After": "7"}
    error = {"code": 429, "message": "slow", "metadata": {"headers": headers}}
    got = failed(decoded(event({"error": error})), "endpoint_error")
    assert got.headers == {"x-ratelimit-reset": "1", "retry-after": "7"}


@given(texts, st.sampled_from(["", "-tail"]), cuts)
def test_the_key_is_in_no_reply(text, tail, at):
    said = f"{text}{KEY}{tail}"
    asked = [call(0, **wanted(said, said, json.dumps({said: said})))]
    for data in (
        stream(text, KEY[:9], KEY[9:]),
        chunk("hi", reasoning=said) + STOP,
        chunk("hi", tool_calls=asked) + STOP,
        chunk("hi", beside={"usage": {said: said}, "model": said}) + STOP,
        stream("hi", finish_reason=said),
        event({"error": {"message": said, "code": said}}),
        f"event: error\ndata: {KEY}{tail}\n\n",
        event({"error": {"message": "x" * 290 + said, "type": said}}),
        chunk(None, refusal=said) + STOP,
        whole({"content": said}),
        json.dumps({"detail": said}),
        f"<html><title>{KEY}</title></html>",
        f"{KEY} is no stream",
        f"[{KEY}",
    ):
        got = decoded(data, at)
        # What a failed call had said is cleared of it by the line.
        partial = got.partial if isinstance(got, Failure) else ""
        assert KEY[:16] not in repr(got).replace(repr(partial), "")


def test_what_no_database_could_hold_is_kept_out():
    deep: object = "deep"
    for _ in range(300):
        deep = [deep]
    data = chunk("hi", beside={"usage": {"a": deep}}, reasoning="a\0b") + chunk(
        None, tool_calls=[call(0, id="a\0", function={"arguments": deep})]
    )
    got = decoded(data + STOP)
    assert isinstance(got, Completion)
    assert got.reasoning == "a\N{REPLACEMENT CHARACTER}b"
    kept = json.dumps([got.usage, got.tool_calls])
    assert kept.count("[") < 200
    assert "\\u0000" not in kept


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_long_answer_is_read_at_once(size):
    # Were what has come put together anew at each piece, this would take minutes.
    data = stream(*["word "] * 4000).encode()
    got = decoded(data, list(range(0, len(data), size)))
    assert got == answer("word " * 4000)


def test_a_long_object_is_read_at_once_in_small_pieces():
    # The same here.
    data = whole({"content": "x" * 1_000_000}).encode()
    assert decoded(data, list(range(0, len(data), 100))) == answer("x" * 1_000_000)


def test_bytes_that_are_no_text_are_never_an_answer():
    with pytest.raises(NotTextError, match="not UTF-8"):
        decoded(b"data: \xff\n\n")
    failed(decoded(b'{"choices": "\xff"}'), "not_text")
    whole = chunk("hi").encode() + b"data: \xe9t\xe9\n\n" + STOP.encode()
    failed(decoded(whole), "not_text")
    with pytest.raises(NotTextError, match="not UTF-8"):
        decoded(whole, [len(whole) - 1])


def test_half_a_character_behind_the_end_does_no_harm():
    tail = "data: 铁".encode()[:-1]
    assert decoded((chunk("hi") + STOP).encode() + tail) == answer("hi")
    failed(decoded(chunk("hi").encode() + tail), "not_text")
    failed(decoded(chunk("hi").encode() + tail, framed=False), "unfinished")
