"""What a call must not do: follow a redirect, unpack what it did not ask for, take a
connection that the endpoint has closed, fill the memory, pay for what was not sent.
"""

from __future__ import annotations

import gzip
import signal
import socket
import zlib
from pathlib import Path

import pytest
from protocols import ESPAI, Protocol, both, either
from rawserver import RawServer, Request, Script, sends
from stage import KEY, Stage, wait_until
from wire import configure, entries, files_with, nobody_listens, query, used


def one_after_the_other(stage: Stage, protocol: Protocol, scripts: list[Script]):
    """An endpoint that plays the next of these with every call."""
    turn = iter(scripts)
    server = stage.keep(RawServer(lambda *call: next(turn)(*call)))
    configure(stage, protocol, server.url)
    return server


def codes(stage: Stage) -> list[str]:
    return [code for (code,) in query(stage, "SELECT code FROM errors ORDER BY 1")]


# Redirects


@either
@pytest.mark.fault(40)
@pytest.mark.long
def test_a_redirect_costs_one_call_and_takes_nothing_elsewhere(
    stage: Stage, protocol: Protocol
):
    elsewhere = stage.keep(RawServer(sends(protocol.stated())))
    fields = f"Location: {elsewhere.url}/llm?key={KEY}\r\nContent-Length: 0\r\n\r\n"
    statuses = [301, 302, 303, 307, 308]
    moved = [f"HTTP/1.1 {one} Moved\r\n{fields}".encode() for one in statuses]
    server = one_after_the_other(stage, protocol, [sends(data) for data in moved])
    job = stage.submit(["eins", "zwei"])

    for calls in range(1, len(statuses) + 1):
        done = stage.quick("--debug", "run")
        assert done.code == 78
        assert f"redirects to {elsewhere.url}/llm?key=[key]" in done.err
        assert KEY not in done.err
        assert server.count == calls

    assert elsewhere.connections == 0
    assert entries(stage) == {"spent": len(statuses)}
    rows = query(stage, "SELECT code, status FROM errors ORDER BY entry_id")
    assert rows == [("redirect", status) for status in statuses]
    assert stage.counts(job) == {"total": 2, "pending": 2}
    assert files_with(stage, KEY) == []


# Compressed replies


def compressed(p: Protocol) -> dict[str, bytes]:
    """Bodies that their framing calls whole, by the encoding that they name."""
    packed = gzip.compress(p.body, mtime=0)
    deflated = zlib.compress(p.body)
    return {
        # All but the trailer, which the HTTP client does not miss.
        "gzip": packed[:-8],
        "GZIP": packed[: len(packed) // 2],
        "deflate": deflated[: len(deflated) // 2],
        "br": b"\x0b\x02\x80hello",
        "zstd, gzip": packed,
    }


@both
@pytest.mark.fault(29)
@pytest.mark.long
def test_a_compressed_reply_is_never_an_answer(stage: Stage, protocol: Protocol):
    replies = []
    for encoding, body in compressed(protocol).items():
        named = protocol.head(f"Content-Encoding: {encoding}")
        replies.append(named + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    server = one_after_the_other(stage, protocol, [sends(data) for data in replies])
    job = stage.submit(["eins", "zwei"])

    for calls in range(1, len(replies) + 1):
        done = stage.quick("run")
        assert done.code == 78
        assert "compressed" in done.err
        assert server.count == calls

    assert entries(stage) == {"spent": len(replies)}
    assert codes(stage) == ["encoded"] * len(replies)
    assert stage.counts(job) == {"total": 2, "pending": 2}
    assert query(stage, "SELECT * FROM results") == []


# Connections


@both
@pytest.mark.fault(41)
@pytest.mark.long
def test_no_call_is_made_on_a_connection_that_the_endpoint_may_have_closed(
    stage: Stage, protocol: Protocol
):
    on_kept_ones: list[bytes] = []

    def script(connection: socket.socket, _request: Request) -> None:
        kept = protocol.stated().replace(b"\r\n\r\n", b"\r\nKeep-Alive: 60\r\n\r\n", 1)
        connection.sendall(kept)
        # An idle connection is closed as soon as it is used again.
        on_kept_ones.append(connection.recv(65536))

    server = stage.keep(RawServer(script))
    configure(stage, protocol, server.url)
    prompts = [f"frage {n}" for n in range(20)]
    job = stage.submit(prompts)

    assert stage.quick("run", "--concurrency", 2).code == 0

    assert sorted(server.prompts) == sorted(prompts)
    assert on_kept_ones == [b""] * len(prompts)
    assert entries(stage) == {"spent": len(prompts)}
    assert codes(stage) == []
    assert {one["attempts"] for one in stage.export(job)} == {1}


def is_connecting_to(port: int) -> bool:
    """Whether somebody has knocked at this port and waits."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    place, knocking = f":{port:04X}", "02"
    found = [row for row in map(str.split, lines) if row[2].endswith(place)]
    ours = [row for row in found if row[3] == knocking]
    # Two are the test's own, of which one may have got in.
    return len(ours) > 1


def waits_at(stage: Stage, port: int) -> bool:
    """Whether a credit is reserved, and the call that it is for knocks at this port."""
    return "reserved" in entries(stage) and is_connecting_to(port)


@either
@pytest.mark.fault(24)
@pytest.mark.long
def test_what_is_given_up_before_it_was_sent_costs_nothing(
    stage: Stage, protocol: Protocol
):
    server = stage.keep(RawServer(sends(protocol.stated())))
    configure(stage, protocol, server.url)
    job = stage.submit(["eins", "zwei", "drei"])
    assert stage.quick("run", "--max-calls", 1).code == 75
    with nobody_listens() as port:
        running = stage.start(
            "run", "--any-host", "--base-url", f"http://127.0.0.1:{port}/v1"
        )
        wait_until(lambda: waits_at(stage, port), "a connection")
        running.signal(signal.SIGINT)
        running.says("Finishing the calls in flight")
        running.signal(signal.SIGINT)
        done = running.end()

    assert done.code == 130
    assert entries(stage) == {"spent": 1, "released": 1}
    assert used(stage) == server.count == 1
    assert stage.counts(job) == {"total": 3, "completed": 1, "pending": 2}
    assert [one["attempts"] for one in stage.export(job)] == [1, 0, 0]
    # Nothing is in doubt.
    assert "outcome is unknown" not in done.err


@pytest.mark.fault(47)
@pytest.mark.long
def test_a_run_that_has_made_no_call_yet_ends_at_the_first_signal(stage: Stage):
    with nobody_listens() as port:
        configure(stage, ESPAI, f"http://127.0.0.1:{port}/v1")
        stage.submit(["eins"])
        # It asks for the time, which this machine has not heard from anybody.
        running = stage.start("run", env={"QUOTABATCH_CONNECT_TIMEOUT": "120"})
        wait_until(lambda: is_connecting_to(port), "a connection")
        running.signal(signal.SIGINT)
        done = running.end(timeout=30)

    assert done.code == 130
    assert entries(stage) == {}
    assert "Traceback" not in done.err
