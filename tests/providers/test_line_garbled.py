"""What is no HTTP, or no reply at all, may be tried again and brings nothing down."""

from __future__ import annotations

from random import Random

import pytest
from asking import KEY, claim, profile
from bareline import HEAD, OK, TEXT, asked, failure, kind
from bareserver import Drip, RawServer, Reset, reply, until_closed

from batch.core.model import Failure
from batch.core.verdict import VerdictKind
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (b"", "dropped"),
        ([Reset()], "dropped"),
        (OK[:20], "dropped"),
        ([OK[:20], Reset()], "dropped"),
        (b"\x00\x01garbage\r\n\r\n", "garbled"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "garbled"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "garbled"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "garbled"),
        (reply(b"hi") + b"more", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi", "garbled"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nhi",
            "garbled",
        ),
        (OK.replace(b"chunked", b"chunked\r\nContent-Length: 3"), "garbled"),
        (HEAD + b"zz\r\nhello\r\n0\r\n\r\n", "garbled"),
        (
            b"HTTP/1.1 200 OK\r\n"
            + b"".join(b"X-%d: 1\r\n" % n for n in range(200))
            + b"Content-Length: 2\r\n\r\nhi",
            "garbled",
        ),
        (
            b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\nhi",
            "garbled",
        ),
        (b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\nhi", "garbled"),
        ([b"HTTP/1.1 200 OK\r\n", Drip(b"X-A: b\r\n" * 100)], "garbled"),
        (OK[:-2] + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", "garbled"),
    ],
)
@pytest.mark.fault(25, 26)
async def test_what_is_no_reply_may_be_tried_again(script, code):
    got = failure(await asked(script), code, partial=None)
    # Never by the status 400 that the HTTP client makes up.
    assert got.status is None
    assert kind(got) is VerdictKind.RETRY


async def test_no_bytes_whatever_bring_it_down_or_make_it_call_twice():
    random = Random(22)
    scripts = []
    for _ in range(150):
        data = bytearray(random.choice([OK, reply(TEXT.encode()), until_closed(b"hi")]))
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(data))
            match random.randrange(3):
                case 0:
                    data[place] = random.randrange(256)
                case 1:
                    del data[place : place + random.randint(1, 30)]
                    data += b"\r\n"
                case _:
                    data[place:place] = random.randbytes(random.randint(1, 4))
        scripts.append([bytes(data), *random.choice([[], [Reset()]])])
    turn = iter(scripts)
    async with RawServer(lambda _: next(turn)) as server:
        # Every script ends by itself. Where a bound ended a call on a busy machine, the
        # server might not have read the request yet.
        endpoint = EspaiEndpoint(profile(server.url), KEY, Bounds())
        try:
            for calls, _ in enumerate(scripts, 1):
                got = await endpoint.call(claim(), None)
                assert len(server.requests) == calls
                if isinstance(got, Failure):
                    failure(got, got.code, partial=None)
                    assert got.code != "unsendable"
                else:
                    got.text.encode()
                    assert got.text.strip()
        finally:
            await endpoint.close()
