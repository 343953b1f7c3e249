"""A reply with its end is an answer, and every call takes a connection of its own."""

from __future__ import annotations

import pytest
from asking import BRIEF, KEY, MODEL, claim, profile
from bareline import ANSWER, OK, TEXT, asked, failure
from bareserver import RawServer, Reset, Silence, chunked, reply, until_closed
from chatting import answer, whole
from chatting import profile as profile_of_chats

from batch.core.model import Completion
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint
from batch.providers.openai import OpenaiEndpoint

#: None of these calls is late.
PATIENT = Bounds()


@pytest.mark.parametrize(
    "script",
    [
        OK,
        [OK[:60], OK[60:]],
        chunked(*[bytes([byte]) for byte in TEXT.encode()]),
        chunked(TEXT.encode(), headers="Set-Cookie: a=b\r\nX-A: 1\r\n"),
        reply(TEXT.encode()),
        reply(TEXT.encode(), headers="Content-Encoding: identity\r\n"),
        reply(TEXT.encode(), headers="Content-Type: text/html; charset=gbk\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        [OK, Silence()],
        [OK, Reset()],
    ],
)
async def test_a_reply_with_its_end_is_an_answer(script):
    assert await asked(script) == ANSWER


async def test_a_whole_answer_with_any_status_of_success_is_one():
    with_a_body = [status for status in range(200, 300) if status != 204]
    scripts = [
        [reply(body, status=f"{status} So")]
        for status in with_a_body
        for body in (TEXT.encode(), whole({"content": TEXT}).encode())
    ]
    turn = iter(scripts)
    async with RawServer(lambda _: next(turn)) as server:
        espai = EspaiEndpoint(profile(server.url), KEY, PATIENT)
        openai = OpenaiEndpoint(profile_of_chats(server.url), KEY, PATIENT)
        for status in with_a_body:
            assert await espai.call(claim(), None) == ANSWER, status
            assert await openai.call(claim(), None) == answer(TEXT), status
        await espai.close()
        await openai.close()


@pytest.mark.parametrize(
    ("stated", "is_whole"),
    [
        ("bytes 0-{last}/{size}", True),
        ("bytes 0-{last}/9999", False),
        ("bytes 5-{last}/{size}", False),
        ("bytes 0-{last}/*", False),
        ("lines 0-1/2", False),
    ],
)
async def test_a_partial_reply_is_an_answer_unless_it_says_that_it_is_less(
    stated, is_whole
):
    body = TEXT.encode()
    stated = stated.format(last=len(body) - 1, size=len(body))
    head = f"Content-Range: {stated}\r\n"
    got = await asked(reply(body, status="206 Partial Content", headers=head))
    if is_whole:
        assert got == ANSWER
    else:
        failure(got, "http_206", partial="")


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "205 Reset"])
async def test_a_status_of_success_makes_no_answer_of_an_empty_body(status):
    failure(await asked(reply(b"", status=status)), "empty")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_reply_whose_end_is_the_connections_is_owned_up_to(version):
    got = await asked(until_closed(TEXT.encode(), version=version))
    assert got == Completion(text=TEXT, finish_reason="unknown", model=MODEL)


@pytest.mark.fault(41)
async def test_every_call_takes_a_fresh_connection_and_no_cookies_with_it():
    async with RawServer(chunked(b"hi", headers="Set-Cookie: a=b\r\n")) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, BRIEF)
        for _ in range(3):
            done = await endpoint.call(claim(), None)
            assert isinstance(done, Completion)
        await endpoint.close()
        assert (len(server.requests), server.connections) == (3, 3)
        assert not any(b"ookie" in request for request in server.requests)


async def test_a_chunked_reply_may_be_spelled_otherwise():
    assert await asked(OK.replace(b"chunked", b"Chunked")) == ANSWER
