from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest
from asking import BRIEF, KEY, MODEL, ask, claim, profile
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

from batch.clock import SystemClock
from batch.core.model import Completion, Failure, Reply
from batch.core.verdict import StopCause, VerdictKind, judge
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint
from batch.providers.profiles import with_base_url

TEXT = "床前明月光，疑是地上霜。"
OK = chunked(TEXT.encode()[:7], TEXT.encode()[7:])
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = Completion(text=TEXT, finish_reason="stop", model=MODEL)


async def asked(
    script: Script | bytes, bounds: Bounds = BRIEF, requests: int = 1, **options: Any
) -> Reply:
    """What one call comes to, when the server answers so."""
    async with RawServer(script) as server:
        got = await ask(server.url, bounds=bounds, **options)
        assert len(server.requests) == requests
        assert server.connections == 1
    return got


def failure(
    got: Reply, code: str, *, sent: bool = True, partial: str | None = ""
) -> Failure:
    assert isinstance(got, Failure), got
    assert (got.code, got.sent) == (code, sent), got
    if partial is not None:
        assert got.partial == partial
    assert KEY not in repr(got)
    assert "\n" not in got.message
    return got


def kind(got: Failure) -> VerdictKind:
    rules = profile("http://localhost").rules
    return judge(got, rules, SystemClock().now()).kind


# Good replies.


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


# Cut replies.


async def cut_everywhere(recorded: bytes, step: Script = ()) -> dict[int, Reply]:
    """What a call comes to, for every number of bytes that this much of it arrives."""

    def script(request: bytes) -> Script:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        return [recorded[: int(body["message"][0]["content"])], *step]

    async with RawServer(script) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, Bounds())
        replies = {}
        for size in range(len(recorded) + 1):
            replies[size] = await endpoint.call(claim(str(size)), None)
            assert len(server.requests) == size + 1
        await endpoint.close()
    return replies


def prefix(of: bytes) -> str:
    """The text that these bytes hold in full."""
    return of.decode("utf-8", "ignore")


@pytest.mark.fault(27)
async def test_a_chunked_reply_counts_only_once_its_last_byte_is_there():
    replies = await cut_everywhere(OK)
    whole = replies.pop(len(OK))
    assert whole == ANSWER
    for size, got in replies.items():
        if size < len(HEAD):
            failure(got, "dropped")
        else:
            cut = failure(got, "cut", partial=None)
            assert TEXT.startswith(cut.partial)
    longest = replies[len(OK) - 1]
    assert isinstance(longest, Failure)
    assert longest.partial == TEXT


@pytest.mark.fault(27)
async def test_a_chunked_reply_that_is_reset_counts_only_once_it_is_whole():
    replies = await cut_everywhere(OK, [Reset()])
    assert replies.pop(len(OK)) == ANSWER
    for size, got in replies.items():
        failure(got, "dropped" if size < len(HEAD) else "cut", partial=None)


@pytest.mark.fault(27)
async def test_a_reply_of_a_stated_length_counts_only_once_it_is_whole():
    recorded = reply(TEXT.encode())
    head = len(recorded) - len(TEXT.encode())
    replies = await cut_everywhere(recorded)
    assert replies.pop(len(recorded)) == ANSWER
    for size, got in replies.items():
        if size < head:
            failure(got, "dropped")
        else:
            failure(got, "cut", partial=prefix(TEXT.encode()[: size - head]))


@pytest.mark.fault(28)
async def test_a_reply_that_nothing_delimits_is_never_taken_for_a_whole_one():
    recorded = until_closed(TEXT.encode())
    head = len(recorded) - len(TEXT.encode())
    for size, got in (await cut_everywhere(recorded)).items():
        body = TEXT.encode()[: max(0, size - head)]
        if size < head:
            failure(got, "dropped")
        elif not body:
            failure(got, "empty")
        elif len(prefix(body).encode()) < len(body):
            failure(got, "not_text", partial=prefix(body))
        else:
            assert got == Completion(
                text=prefix(body), finish_reason="unknown", model=MODEL
            )


async def test_an_error_object_is_never_an_answer_however_its_stream_is_cut():
    error = '{"success": false, "message": "额度不足", "code": 4002}'.encode()
    recorded = chunked(*[error[n : n + 5] for n in range(0, len(error), 5)])
    for got in (await cut_everywhere(recorded)).values():
        failure(
            got, "endpoint_error" if "4002)" in got.message else got.code, partial=None
        )


# Replies that are no HTTP, or no reply at all.


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
        endpoint = EspaiEndpoint(profile(server.url), KEY, BRIEF)
        for number in range(1, len(scripts) + 1):
            got = await endpoint.call(claim(), None)
            assert len(server.requests) == number
            if isinstance(got, Failure):
                failure(got, got.code, partial=None)
                assert got.code != "unsendable"
            else:
                got.text.encode()
                assert got.text.strip()
        await endpoint.close()


# Replies that are no answer.

NO_ANSWERS = {
    "": "empty",
    " \r\n\t\n": "empty",
    "\ufeff": "empty",
    '{"success": false, "message": "系统错误", "code": 500}': "endpoint_error",
    '{"error": {"message": "busy"}}': "endpoint_error",
    '一半{"success": false, "message": "系统错误", "code": 500}': "endpoint_error",
    "<!DOCTYPE html><html><title>502</title></html>": "html",
    "<html><body>login</body></html>": "html",
    "a\0b": "not_text",
}


@pytest.mark.parametrize("framing", [reply, chunked, until_closed])
@pytest.mark.parametrize(("text", "code"), NO_ANSWERS.items())
@pytest.mark.fault(32)
async def test_a_reply_that_is_no_answer_is_none_however_it_is_framed(
    framing, text, code
):
    got = failure(await asked(framing(text.encode())), code, partial=None)
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(34)
async def test_bytes_that_are_no_text_end_the_call_where_they_come():
    good, bad = "好的".encode(), "déjà".encode("latin-1")
    got = failure(
        await asked([HEAD + b"6\r\n" + good + b"\r\n4\r\n" + bad + b"\r\n", Silence()]),
        "not_text",
        partial=None,
    )
    assert good.decode().startswith(got.partial)
    assert got.message == (
        "the answer is not text (not UTF-8: invalid continuation byte)"
    )


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "a, b"])
@pytest.mark.fault(29)
async def test_a_compressed_reply_is_refused_unread(encoding):
    headers = f"Content-Encoding: {encoding}\r\n"
    got = failure(await asked(reply(b"\x1f\x8b\x08", headers=headers)), "encoded")
    assert encoding.lower() in got.message
    assert kind(got) is VerdictKind.STOP


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
        ("402 Pay", b"", None, "HTTP 402 Pay", VerdictKind.EXHAUSTED),
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
        ("201 Created", b"hi", None, "HTTP 201 Created: hi", VerdictKind.RETRY),
        ("204 No Content", b"", None, "HTTP 204 No Content", VerdictKind.RETRY),
        ("206 Part", b"hi", None, "HTTP 206 Part: hi", VerdictKind.RETRY),
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


# What takes too long, or is too large.


@pytest.mark.parametrize(
    ("script", "partial"),
    [
        ([Silence()], ""),
        ([OK[:20], Silence()], ""),
        ([HEAD, Silence()], ""),
        ([OK[:60], Silence()], TEXT[:2]),
        ([OK[:-5], Silence()], TEXT),
        ([until_closed("床前".encode()), Silence()], "床前"),
    ],
)
@pytest.mark.fault(30)
async def test_a_silence_ends_the_call(script, partial):
    loop = asyncio.get_running_loop()
    started = loop.time()
    got = failure(await asked(script), "timeout", partial=partial)
    assert BRIEF.silence <= loop.time() - started + 0.01 < 3 * BRIEF.silence
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(31)
async def test_a_drip_is_bounded_by_the_time_of_the_whole_call():
    loop = asyncio.get_running_loop()
    started = loop.time()
    bounds = Bounds(connect=5, first_byte=0.2, silence=0.2, total=0.2)
    script = [until_closed(b""), Drip(b"x", 0.01)]
    got = failure(await asked(script, bounds), "timeout", partial=None)
    assert set(got.partial) == {"x"}
    assert 0.19 < loop.time() - started < 0.6


@pytest.mark.parametrize("head", [until_closed(b""), HEAD])
@pytest.mark.fault(31)
async def test_an_endless_answer_is_bounded_by_its_size(head):
    data = b"x" * 4096
    chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n"
    script = [head, Drip(chunk if head == HEAD else data)]
    got = failure(await asked(script, Bounds(size=20_000)), "too_long", partial=None)
    assert got.message == "the answer is larger than 20,000 bytes"
    assert len(got.partial) <= 20_000
    assert kind(got) is VerdictKind.RETRY


async def test_an_answer_may_be_as_large_as_the_bound():
    got = await asked(reply(b"x" * 1000), Bounds(size=1000))
    assert isinstance(got, Completion)
    failure(
        await asked(reply(b"x" * 1001), Bounds(size=1000)), "too_long", partial=None
    )


# Calls that were never made.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.fault(23)
async def test_a_refused_connection_proves_that_nothing_was_sent():
    port = free_port()
    got = failure(await ask(f"http://127.0.0.1:{port}"), "connect", sent=False)
    assert got.message.startswith(f"cannot connect to 127.0.0.1:{port}: ")
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(22)
async def test_a_name_that_cannot_be_resolved_proves_that_nothing_was_sent():
    got = failure(await ask("http://no-such-host.invalid"), "dns", sent=False)
    assert got.message == "cannot resolve no-such-host.invalid"
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.parametrize("bounds", [BRIEF, Bounds(connect=0.1)])
@pytest.mark.fault(23)
async def test_a_connection_that_never_comes_about_proves_that_nothing_was_sent(bounds):
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # The queue of those who wait has one place; a third is not even heard.
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        got = await ask(f"http://127.0.0.1:{port}", bounds=bounds)
    failure(got, "connect_timeout", sent=False)
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.parametrize(
    ("otherwise", "code", "verdict"),
    [
        (reply(b"plain HTTP", status="400 No"), "certificate", VerdictKind.STOP),
        (b"", "connect", VerdictKind.RETRY),
    ],
)
@pytest.mark.fault(23)
async def test_tls_to_a_port_that_speaks_none_proves_that_nothing_was_sent(
    otherwise, code, verdict
):
    async with RawServer(OK, otherwise=otherwise) as server:
        got = failure(
            await ask(server.url.replace("http:", "https:")), code, sent=False
        )
        assert server.requests == []
    assert kind(got) is verdict


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that nobody has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder: Path = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(
        [openssl, "req", "-x509", *curve, *names, *files, "-days", "2"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.fault(23)
async def test_a_certificate_that_nobody_trusts_is_told_nothing(own_certificate):
    async with RawServer(OK, tls=own_certificate) as server:
        got = await ask(server.url)
        assert server.requests == []
    failure(got, "certificate", sent=False)
    assert got.message == "the endpoint's certificate is not trusted"
    assert kind(got) is VerdictKind.STOP


@pytest.mark.parametrize("url", ["http://[", "http:///v1", "http://localhost:99999"])
async def test_what_is_no_url_is_not_called(url):
    # The settings would refuse it; the line does not rely on that.
    elsewhere = with_base_url(profile("http://localhost"), url)
    endpoint = EspaiEndpoint(elsewhere, KEY, BRIEF)
    got = failure(await endpoint.call(claim(), None), "not_a_url", sent=False)
    await endpoint.close()
    assert kind(got) is VerdictKind.STOP


# Taken back.


async def test_a_call_that_is_cancelled_is_no_failure():
    heard: list[str] = []
    async with RawServer([OK[:60], Silence()]) as server:
        call = asyncio.create_task(ask(server.url, heard=heard))
        while not heard:
            await SystemClock().sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.requests) == 1


async def test_a_closed_endpoint_sends_nothing():
    async with RawServer(OK) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, BRIEF)
        await endpoint.close()
        failure(await endpoint.call(claim(), None), "unsendable", sent=False)
        assert server.connections == 0


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


async def test_a_login_page_is_no_answer():
    page = b"<script>top.location.href='http://10.0.0.1/login'</script>"
    got = await asked(reply(page, headers="Content-Type: text/html\r\n"))
    failure(got, "html", partial=None)


async def test_a_chunked_reply_may_be_spelled_otherwise():
    assert await asked(OK.replace(b"chunked", b"Chunked")) == ANSWER


async def test_an_error_object_cut_off_is_no_answer_where_nothing_marks_the_end():
    error = '{"success": false, "message": "额度不足", "code": 4002}'.encode()
    for size in range(12, len(error), 7):
        got = await asked(until_closed(error[:size]))
        assert isinstance(got, Failure)
