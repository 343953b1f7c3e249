"""Chat completions over sockets: requests as they are sent, replies as they break."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from asking import KEY
from bareserver import (
    Drip,
    RawServer,
    Reset,
    Script,
    Silence,
    chunked,
    reply,
    until_closed,
)
from chatting import DONE, MODEL, answer, ask, chunk, event, profile, stream, usage
from chatting import whole as whole_reply
from cutting import cut_everywhere

from batch.core.model import Completion, Failure, Reply
from batch.providers import line as its_line
from batch.providers.bounds import Bounds
from batch.providers.openai import OpenaiEndpoint

TEXT = "床前明月光"
EVENTS = "data: " + stream(TEXT[:2], TEXT[2:]).removeprefix("data: ")
#: The place from which on the end of the answer was seen.
ENDED = EVENTS.encode().index(b'"stop"') + len('"stop"}]}')
SSE = "Content-Type: text/event-stream\r\n"
#: Short enough for what takes too long, long enough for a machine that is busy.
SHORT = Bounds(connect=5, first_byte=5, silence=0.4, total=1.5, size=64 * 1024)
HEAD = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{SSE}\r\n".encode()


def in_chunks(*pieces: str, end: bytes = b"") -> bytes:
    whole = chunked(*(piece.encode() for piece in pieces), headers=SSE)
    return whole.removesuffix(b"0\r\n\r\n") + end


async def asked(
    script: Script | bytes, bounds: Bounds = SHORT, **options: Any
) -> Reply:
    """What one call comes to, when the server answers so."""
    async with RawServer(script) as server:
        got = await ask(server.url, bounds=bounds, **options)
        assert len(server.requests) == server.connections == 1
    assert KEY not in repr(got)
    return got


def failure(got: Reply, code: str, partial: str | None = None) -> Failure:
    assert isinstance(got, Failure), got
    assert (got.code, got.sent) == (code, True), got
    assert partial is None or got.partial == partial
    return got


# Good replies.


@pytest.mark.parametrize(
    "script",
    [
        in_chunks(EVENTS, end=b"0\r\n\r\n"),
        chunked(*(bytes([byte]) for byte in EVENTS.encode())),
        reply(EVENTS.encode(), headers=SSE),
        reply(EVENTS.encode(), headers="Content-Type: application/json\r\n"),
        reply(EVENTS.encode()),
        # However the connection ends, and though it does not.
        until_closed(EVENTS.encode()),
        in_chunks(EVENTS),
        in_chunks(EVENTS, end=b"0\r\n"),
        in_chunks(EVENTS.removesuffix(DONE)),
        [in_chunks(EVENTS), Reset()],
        [until_closed(EVENTS.encode()), Reset()],
        reply(EVENTS.encode() + b"more").removesuffix(b"more"),
        in_chunks(EVENTS.removesuffix(DONE)) + b"9\r\ndata: \xff\n\n\r\n",
        [in_chunks(EVENTS), Silence()],
        [in_chunks(EVENTS.removesuffix(DONE)), Silence()],
        [in_chunks(EVENTS), Drip(b"8\r\n: ping\n\n\r\n", 0.01)],
        [in_chunks(EVENTS), Drip(b"8\r\n: ping\n\n\r\n")],
        reply(whole_reply({"content": TEXT}).encode()),
        [in_chunks(whole_reply({"content": TEXT})), Reset()],
    ],
)
@pytest.mark.fault(33)
async def test_an_answer_that_has_its_end_is_one_however_the_connection_ends(script):
    assert await asked(script) == answer(TEXT)


async def test_what_comes_behind_an_answer_is_not_waited_for_long(monkeypatch):
    """Who waited for its end would wait for an hour."""
    monkeypatch.setattr(its_line, "AFTER_END", 0.1)
    bounds = Bounds(silence=3600, total=3600)
    script = [in_chunks(EVENTS), Drip(b"8\r\n: ping\n\n\r\n", 0.05)]
    assert await asked(script, bounds) == answer(TEXT)


async def test_the_usage_behind_an_answer_is_waited_for():
    told = event({"choices": [], "usage": usage(3)}) + DONE
    script = [
        in_chunks(EVENTS.removesuffix(DONE)),
        in_chunks(told).removeprefix(HEAD),
        b"0\r\n\r\n",
    ]
    got = await asked(script)
    assert got == answer(TEXT, usage=usage(3))


async def test_the_text_is_told_as_it_streams_in_and_the_reasoning_is_not():
    heard: list[str] = []
    thought = chunk(None, reasoning_content="hm")
    got = await asked(in_chunks(thought, EVENTS, end=b"0\r\n\r\n"), heard=heard)
    assert got == answer(TEXT, reasoning="hm")
    assert "".join(heard) == TEXT


async def test_the_headers_of_its_quotas_are_kept():
    quota = {
        "limit": 9,
        "window": "day",
        "headers": {"remaining": "X-RateLimit-Remaining-Requests"},
    }
    headers = f"{SSE}x-ratelimit-remaining-requests: 7\r\nX-Other: 1\r\n"
    for framing in (
        reply(EVENTS.encode(), headers=headers),
        chunked(EVENTS.encode(), headers=headers).removesuffix(b"0\r\n\r\n"),
    ):
        got = await asked(framing, quotas=[quota])
        assert isinstance(got, Completion)
        assert got.headers == {"x-ratelimit-remaining-requests": "7"}


# Cut replies.


def endpoint_at(url: str) -> OpenaiEndpoint:
    return OpenaiEndpoint(profile(url), KEY, Bounds())


def check_cuts(replies: dict[int, Reply], ended: int) -> None:
    """Answers from the end of the answer on, failures before."""
    for size, got in replies.items():
        if size >= ended:
            assert got == answer(TEXT), size
        else:
            assert isinstance(got, Failure), size
            assert got.code in ("dropped", "cut", "unfinished", "empty"), got
            assert TEXT.startswith(got.partial)


@pytest.mark.parametrize("step", [[], pytest.param([Reset()], marks=pytest.mark.long)])
@pytest.mark.fault(27, 33)
async def test_a_stream_in_chunks_is_an_answer_from_its_finish_reason_on(step):
    # One chunk, so that places in the stream are places in the reply.
    size = len(EVENTS.encode())
    recorded = HEAD + f"{size:x}\r\n".encode() + EVENTS.encode() + b"\r\n0\r\n\r\n"
    replies = await cut_everywhere(endpoint_at, recorded, step)
    check_cuts(replies, recorded.index(b"data:") + ENDED)


@pytest.mark.parametrize("framing", [reply, until_closed])
@pytest.mark.fault(27, 28)
@pytest.mark.long
async def test_so_is_one_of_a_stated_length_or_of_none(framing):
    recorded = framing(EVENTS.encode())
    replies = await cut_everywhere(endpoint_at, recorded)
    check_cuts(replies, recorded.index(b"data:") + ENDED)


@pytest.mark.long
async def test_one_object_is_an_answer_only_as_a_whole():
    body = whole_reply({"content": TEXT}).encode()
    for recorded in (
        reply(body),
        until_closed(body),
        HEAD + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n",
    ):
        replies = await cut_everywhere(endpoint_at, recorded)
        check_cuts(replies, recorded.index(body) + len(body))


# Bad ones.


async def test_an_error_in_the_stream_counts_though_the_connection_breaks_then():
    error = event({"error": {"code": 429, "message": "limit of 50 requests per day"}})
    for end in ([], [Reset()], [Silence()]):
        got = await asked([in_chunks(chunk("so far"), error), *end])
        assert failure(got, "endpoint_error", "so far").status == 429


async def test_the_headers_that_an_error_tells_of_stand_beside_those_of_the_reply():
    told = {"X-RateLimit-Reset": "1"}
    error = {"code": 429, "message": "slow", "metadata": {"headers": told}}
    headers = f"{SSE}Date: Mon, 23 Nov 2026 00:00:00 GMT\r\n"
    got = await asked(reply(event({"error": error}).encode(), headers=headers))
    kept = failure(got, "endpoint_error").headers
    assert kept == {"date": "Mon, 23 Nov 2026 00:00:00 GMT", "x-ratelimit-reset": "1"}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (in_chunks(EVENTS[:300]), "cut"),
        ([in_chunks(EVENTS[:300]), Silence()], "timeout"),
        ([in_chunks(chunk("hi")), Drip(b"8\r\n: ping\n\n\r\n", 0.01)], "timeout"),
        (in_chunks("data: " + "x" * 70_000), "too_long"),
        (reply(b"data: \xff\n\n" + EVENTS.encode()), "not_text"),
        (reply(b"", status="503 Busy"), "http_503"),
        (reply(EVENTS.encode(), headers="Content-Encoding: gzip\r\n"), "encoded"),
        (reply(b"<html><title>login</title>", headers=SSE), "html"),
        (reply(b"<p>login</p>", headers="Content-Type: text/html\r\n"), "html"),
    ],
)
@pytest.mark.fault(32)
async def test_a_reply_without_the_end_of_an_answer_is_none(script, code):
    failure(await asked(script), code)


@pytest.mark.fault(31)
async def test_a_drip_of_comments_is_bounded_by_the_time_of_the_whole_call():
    loop = asyncio.get_running_loop()
    started = loop.time()
    bounds = Bounds(silence=0.4, total=1)
    script = [in_chunks(": ping\n\n"), Drip(b"8\r\n: ping\n\n\r\n", 0.02)]
    failure(await asked(script, bounds), "timeout")
    # Each comment is a sign of life: it is not the silence that ends it.
    assert loop.time() - started > 0.95


async def test_the_key_in_a_failed_answer_is_hidden():
    got = await asked(in_chunks(chunk(f"Your key is {KEY}, is")))
    assert failure(got, "cut").partial == "Your key is [key], is"


# The request.


async def sent(key: str | None = KEY, **options: Any) -> tuple[dict[str, str], Any]:
    """Headers and body of the request that such a call makes."""
    async with RawServer(reply(EVENTS.encode())) as server:
        got = await ask(server.url + "/v1", key=key, **options)
        assert isinstance(got, Completion)
        (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /v1/chat/completions HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    assert KEY.encode() not in body
    return {name.lower(): value for name, value in headers.items()}, orjson.loads(body)


async def test_the_request_is_what_openai_documents():
    headers, body = await sent(params={"temperature": 0.2, "max_tokens": 5})
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert body == {
        "messages": [{"role": "user", "content": "你好"}],
        "model": "asked-for",
        "stream": True,
        "temperature": 0.2,
        "max_tokens": 5,
    }


@pytest.mark.parametrize("key", [None, ""])
async def test_without_a_key_there_is_no_header_for_it(key):
    headers, _ = await sent(key)
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("settings", "params", "expected"),
    [
        ({}, {}, {"stream": True}),
        ({"stream": False}, {}, {"stream": False}),
        (
            {"stream_usage": True},
            {},
            {"stream": True, "stream_options": {"include_usage": True}},
        ),
        (
            {"stream_usage": True},
            {"stream_options": {"include_obfuscation": False}},
            {
                "stream": True,
                "stream_options": {"include_obfuscation": False, "include_usage": True},
            },
        ),
        (
            {"stream": False, "stream_usage": True},
            {"stream_options": {"include_usage": True}},
            {"stream": False},
        ),
        # No parameter takes the place of what the protocol needs.
        (
            {},
            {"stream": False, "model": "other", "messages": []},
            {"stream": True},
        ),
    ],
)
async def test_whether_it_streams_is_the_profiles(settings, params, expected):
    _, body = await sent(params=params, **settings)
    assert body.pop("messages") == [{"role": "user", "content": "你好"}]
    assert body.pop("model") == "asked-for"
    assert body == expected


async def test_a_reply_that_is_no_stream_has_the_time_of_the_whole_call():
    loop = asyncio.get_running_loop()
    started = loop.time()
    bounds = Bounds(first_byte=0.05, silence=0.05, total=1)
    failure(await asked([Silence()], bounds, stream=False), "timeout")
    assert loop.time() - started > 0.95


@pytest.mark.parametrize("params", [{"x": "\ud800"}, {"x": 2**70}])
async def test_what_json_cannot_say_is_not_sent(params):
    async with RawServer(reply(b"hi")) as server:
        got = await ask(server.url, params=params)
        assert server.connections == 0
    assert isinstance(got, Failure)
    assert (got.code, got.sent) == ("unsendable", False)


@pytest.mark.fault(40)
async def test_a_redirect_does_not_carry_the_key_elsewhere():
    async with RawServer(reply(EVENTS.encode())) as elsewhere:
        headers = f"Location: {elsewhere.url}/?key={KEY}\r\n"
        got = await asked(reply(b"", status="307 Moved", headers=headers))
        assert elsewhere.connections == 0
    assert "key=[key]" in failure(got, "redirect").message


async def test_the_model_that_answered_is_told():
    other = EVENTS.replace(MODEL, "gpt-oss-20b-2025")
    assert await asked(reply(other.encode())) == answer(TEXT, model="gpt-oss-20b-2025")
