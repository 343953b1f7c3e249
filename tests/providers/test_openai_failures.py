"""What is no answer: the name that it gets, what it says, and what is done then."""

from __future__ import annotations

import math

import pytest
from chatting import DONE, answer, chunk, decoded, event, failed, stream, whole
from pieces import ROLE, STOP, wanted

from batch.clock import SystemClock
from batch.core.model import Failure
from batch.core.verdict import VerdictKind, judge
from batch.providers.profiles import merged

QUOTA = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000"

GARBLED = "a line of the stream is no event in JSON"

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
    "a time that is over, of Cohere": (
        stream("hi", finish_reason="TIMEOUT"),
        "endpoint_error",
        "the endpoint reports: it broke off (TIMEOUT) (code TIMEOUT)",
        VerdictKind.RETRY,
    ),
    "an error of Cohere": (
        stream("hi", finish_reason="ERROR_LIMIT"),
        "endpoint_error",
        "the endpoint reports: it broke off (ERROR_LIMIT) (code ERROR_LIMIT)",
        VerdictKind.RETRY,
    ),
    "the status of a call that was cancelled": (
        whole({"content": "hi"}, "cancelled"),
        "endpoint_error",
        "the endpoint reports: it broke off (cancelled) (code cancelled)",
        VerdictKind.RETRY,
    ),
    "no reason, of Gemini": (
        stream("hi", finish_reason="FINISH_REASON_UNSPECIFIED"),
        "unfinished",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "the status of a call under way": (
        chunk("hi", "in_progress") + DONE,
        "unfinished",
        "the answer stopped without a finish_reason",
        VerdictKind.RETRY,
    ),
    "a filter of Bedrock": (
        stream("hi", finish_reason="guardrail_intervened"),
        "content_filter",
        "the answer was filtered",
        VerdictKind.FAIL,
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
        GARBLED,
        VerdictKind.RETRY,
    ),
    **{
        f"a lost piece: {name}": (
            chunk("Hello ") + lost + chunk("!", "stop") + DONE,
            "garbled",
            GARBLED,
            VerdictKind.RETRY,
        )
        for name, lost in {
            "a word in its place": "data: ERROR upstream\n\n",
            "a number in its place": "data: 502\n\n",
            "a null in its place": "data: null\n\n",
            "the chunk's first byte": chunk("world").replace("{", "", 1),
            "the line's first byte": chunk("world")[1:],
            "the field's name": chunk("world").removeprefix("data: "),
            "the line's beginning": chunk("world")[9:],
            "the last byte": chunk("world")[:-3] + "\n\n",
        }.items()
    },
    **{
        f"an event that is not understood: {reason}": (
            chunk("The answer is ") + event(odd) + chunk("!", "stop") + DONE,
            "garbled",
            f"the reply is not understood: {reason}",
            VerdictKind.RETRY,
        )
        for reason, odd in {
            # Cloudflare writes a token that looks like a number as one.
            "content is a number": {"choices": [{"delta": {"content": 42}}]},
            "content is an object": {
                "choices": [{"delta": {"content": {"text": "w"}}}]
            },
            "a part of content is a text": {"choices": [{"delta": {"content": ["w"]}}]},
            "a part of content has no text": {
                "choices": [{"delta": {"content": [{"type": "text", "text": 42}]}}]
            },
            "index is a text": {"choices": [{"index": "0", "delta": {"content": "w"}}]},
            "choices is an object": {"choices": {"delta": {"content": "w"}}},
            "a choice is a text": {"choices": ["w"]},
            "delta is a text": {"choices": [{"delta": "w"}]},
            "a choice has text and no delta": {"choices": [{"text": "w"}]},
            "delta has text and no content": {"choices": [{"delta": {"text": "w"}}]},
            "tool_calls is an object": {
                "choices": [{"delta": {"tool_calls": wanted("a", "weather", "{}")}}]
            },
            "it has delta and no choices": {"delta": {"content": "w"}},
            "it has message and no choices": {"message": "upstream lost 1 chunk"},
        }.items()
    },
    "a lost piece behind the end": (
        chunk("hi", "stop") + "ata: {}\n\n" + DONE,
        "garbled",
        GARBLED,
        VerdictKind.RETRY,
    ),
    **{
        f"a null that was made a text: {null}": (
            stream("The answer is forty", finish_reason=null),
            "unfinished",
            "the answer stopped without a finish_reason",
            VerdictKind.RETRY,
        )
        for null in ("null", "None", "NULL", " none ", "undefined", "nil")
    },
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
    "an object of which a part is not understood": (
        whole({"content": [{"type": "text", "text": "The answer is "}, math.nan]}),
        "garbled",
        "the reply is not understood: a part of content is a number",
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


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.fault(32)
def test_this_is_none(name):
    recorded, code, message, verdict = FAILURES[name]
    got = failed(decoded(recorded), code)
    assert got.message == message
    assert kind(got) is verdict


def test_an_answer_at_the_limit_of_tokens_fails_where_that_is_wanted():
    data = stream("hi", finish_reason="length")
    got = failed(decoded(data, fail_on_length=True), "length")
    assert got.partial == "hi"
    assert kind(got) is VerdictKind.FAIL


@pytest.mark.parametrize("end", [[DONE], []])
def test_a_reason_that_is_not_known_ends_what_has_its_own_end(end):
    data = "".join([chunk("so "), chunk("far", "OTHER"), *end])
    assert decoded(data) == answer("so far", finish_reason="OTHER")
    if end:
        assert decoded(data, framed=False) == answer("so far", finish_reason="OTHER")
        return
    cut = failed(decoded(data, framed=False), "unfinished")
    assert cut.message == "the reply stopped before its end, with the reason OTHER"


def test_an_object_is_whole_whatever_its_reason():
    data = whole({"content": "hi"}, "OTHER")
    assert decoded(data, framed=False) == answer("hi", finish_reason="OTHER")


@pytest.mark.parametrize("reason", ["content_filter", "error", None])
def test_what_came_before_a_failure_is_kept(reason):
    got = decoded(stream("so ", "far", finish_reason=reason))
    assert isinstance(got, Failure)
    assert got.partial == "so far"
