"""A refusal or a redirect is told in the endpoint's words, and never with the key."""

from __future__ import annotations

import json

import pytest
from asking import KEY, profile
from bareline import OK, asked, failure, kind
from bareserver import Drip, RawServer, Silence, reply

from batch.clock import SystemClock
from batch.core.model import Failure
from batch.core.verdict import StopCause, VerdictKind, judge

# Redirects.


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
@pytest.mark.fault(40)
async def test_a_redirect_is_not_followed(status):
    async with RawServer(OK) as elsewhere:
        headers = f"Location: {elsewhere.url}/v2/llm\r\n"
        got = failure(
            await asked(reply(b"moved", status=status, headers=headers)), "redirect"
        )
        assert elsewhere.connections == 0
        assert f"redirects to {elsewhere.url}/v2/llm" in got.message
    verdict = judge(got, profile("http://localhost").rules, SystemClock().now())
    assert (verdict.kind, verdict.cause) == (
        VerdictKind.STOP,
        StopCause.CONFIGURATION,
    )


async def test_a_redirect_that_repeats_the_key_is_told_without_it():
    location = f"Location: /login?key={KEY}&then=/llm\r\n"
    script = reply(b"", status="302 Found", headers=location)
    got = failure(await asked(script), "redirect")
    assert "/login?key=[key]&then=/llm" in got.message


# Refusals.


@pytest.mark.parametrize(
    ("status", "body", "endpoint_code", "message", "verdict"),
    [
        ("400 Bad Request", b"", None, "HTTP 400 Bad Request", VerdictKind.FAIL),
        (
            "400 Bad Request",
            b'{"error": {"message": "too long", "code": "context"}}',
            "context",
            "HTTP 400 Bad Request: too long",
            VerdictKind.FAIL,
        ),
        ("401 No", b"bad key", None, "HTTP 401 No: bad key", VerdictKind.STOP),
        ("402 Pay", b"", None, "HTTP 402 Pay", VerdictKind.STOP),
        ("403 No", b"", None, "HTTP 403 No", VerdictKind.STOP),
        (
            "404 Not Found",
            b"<html><title>404 Not Found</title>",
            None,
            "HTTP 404 Not Found: 404 Not Found",
            VerdictKind.STOP,
        ),
        ("405 No", b"", None, "HTTP 405 No", VerdictKind.STOP),
        ("408 Late", b"", None, "HTTP 408 Late", VerdictKind.RETRY),
        ("413 Large", b"", None, "HTTP 413 Large", VerdictKind.FAIL),
        ("429 Slow", b"slow down", None, "HTTP 429 Slow: slow down", VerdictKind.RETRY),
        (
            "429 Slow",
            b'{"success": false, "message": "no credits", "code": 4002}',
            "4002",
            "HTTP 429 Slow: no credits",
            VerdictKind.EXHAUSTED,
        ),
        (
            "429 Slow",
            b'{"error": {"message": "limit of 50 requests per day"}}',
            None,
            "HTTP 429 Slow: limit of 50 requests per day",
            VerdictKind.EXHAUSTED,
        ),
        (
            "500 Oops",
            b"\xff\xfe",
            None,
            "HTTP 500 Oops: \ufffd\ufffd",
            VerdictKind.RETRY,
        ),
        ("502 Bad", b"", None, "HTTP 502 Bad", VerdictKind.RETRY),
        ("503", b"a\r\nb", None, "HTTP 503: a b", VerdictKind.RETRY),
        ("529 Full", b"", None, "HTTP 529 Full", VerdictKind.RETRY),
    ],
)
async def test_a_refusal_keeps_its_status_its_code_and_its_words(
    status, body, endpoint_code, message, verdict
):
    got = failure(
        await asked(reply(body, status=status)), f"http_{status[:3]}", partial=""
    )
    assert got.status == int(status[:3])
    assert (got.endpoint_code, got.message) == (endpoint_code, message)
    assert kind(got) is verdict


async def test_the_headers_of_a_refusal_are_kept_to_be_judged():
    headers = "Retry-After: 7\r\nX-RateLimit-Reset: 9\r\n"
    got = failure(
        await asked(reply(b"", status="429 Slow", headers=headers)), "http_429"
    )
    assert got.headers["retry-after"] == "7"
    assert got.headers["x-ratelimit-reset"] == "9"
    verdict = judge(got, profile("http://localhost").rules, SystemClock().now())
    assert verdict.wait == 7


async def test_a_refusal_that_repeats_the_key_is_told_without_it():
    body = json.dumps({"error": f"invalid key {KEY}", "code": KEY}).encode()
    got = failure(await asked(reply(body, status="401 No")), "http_401")
    assert got.message == "HTTP 401 No: invalid key [key]"
    assert got.endpoint_code == "[key]"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"  a\r\n\tb\x00\x1b[2J ", "a b"),
        (b"<html><title>\x1b[31mred\nhot\x1b[0m</title>", "red hot"),
        (b'{"error": "a\\nb\\u001b[2Jc"}', "a bc"),
        (b"x" * 1000, "x" * 299 + "…"),
        (b'{"error": "' + b"y" * 1000 + b'"}', "y" * 299 + "…"),
        ("\u202etxt.exe".encode(), "txt.exe"),
    ],
)
async def test_the_words_of_a_refusal_are_fit_to_be_shown(body, words):
    got = failure(await asked(reply(body, status="500 Oops")), "http_500")
    assert got.message == f"HTTP 500 Oops: {words}"


async def test_a_key_at_the_place_where_words_are_cut_is_hidden_too():
    for size in range(280, 301):
        body = ("x" * size + KEY).encode()
        got = failure(await asked(reply(body, status="500 Oops")), "http_500")
        assert KEY[:4] not in got.message


async def test_a_refusal_that_is_cut_off_is_one_all_the_same():
    script = reply(b'{"error": "bad key", "more": "')[:-4]
    got = failure(await asked(script.replace(b"200 OK", b"401 No")), "http_401")
    assert kind(got) is VerdictKind.STOP


async def test_no_more_of_a_refusal_is_read_than_is_needed():
    script = [b"HTTP/1.1 503 Busy\r\n\r\n", Drip(b"sorry " * 1000)]
    got = failure(await asked(script), "http_503")
    assert got.message.startswith("HTTP 503 Busy: sorry sorry")
    assert len(got.message) < 400


async def test_a_refusal_whose_body_stalls_is_one_all_the_same():
    head = b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n"
    got = failure(await asked([head + b"bad key", Silence()]), "http_401")
    assert got.message == "HTTP 401 No: bad key"


@pytest.mark.parametrize(
    "script",
    [
        reply(b"", status=f"503 {KEY}"),
        reply(b"", status="503 No", headers=f"X-Your-Key: {KEY}\r\n"),
        reply(b"", headers=f"Content-Encoding: {KEY}\r\n"),
    ],
)
async def test_a_key_in_the_head_of_a_reply_is_hidden_too(script):
    got = await asked(script)
    assert isinstance(got, Failure)
    assert KEY not in repr(got)
    assert KEY[:10] not in got.message


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 503 Gr\xfc\xdfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xfc\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_a_failure_says_can_be_written_down(script):
    got = await asked(script)
    assert isinstance(got, Failure)
    got.message.encode()
