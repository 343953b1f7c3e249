"""A reply without an end fills neither the memory nor the day."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

import pytest
from protocols import ESPAI, TEXT, Protocol, either, event
from rawserver import RawServer, Request, repeats, sends
from stage import KEY, Process, Stage, wait_until
from wire import Fault, answers, configure, fails, files_with, query

#: What a run may take of the memory, bytes.
MOST = 200 * 1024 * 1024
#: What is taken of one answer, bytes; it is the default.
LARGEST = 8 * 1024 * 1024
LONG_LINE = "漢" * 200_000


def endless(p: Protocol) -> dict[str, Fault]:
    piece = b"x" * 65536
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    chunked = p.head("Transfer-Encoding: chunked") + b"\r\n"
    long = event({"content": LONG_LINE}, "stop") if p.has_an_end else LONG_LINE.encode()
    gigabyte = p.head() + b"Content-Length: 1073741824\r\n\r\n"
    faults = {
        "in chunks": fails(repeats(chunked, chunk), "too_long"),
        "until closed": fails(repeats(p.until_closed(b""), piece), "too_long"),
        "a gigabyte": fails(repeats(gigabyte, piece), "too_long"),
        "a refusal": fails(
            repeats(b"HTTP/1.1 503 Busy\r\n\r\n", piece), "http_503", status=503
        ),
        "one line of 600 kB": answers(sends(p.stated(long)), text=LONG_LINE),
        "the same in chunks": answers(sends(p.chunked([long])), text=LONG_LINE),
    }
    if p.has_an_end:
        for name, data in {
            "an event": b"data: ",
            "an object": b'{"choices": [',
            "a comment": b": ",
        }.items():
            faults[name] = fails(repeats(p.until_closed(data), piece), "too_long")
        many = event({"content": "x" * 1000}) * 60
        faults["events"] = fails(repeats(p.until_closed(many), many), "too_long")
        pings = b": ping\n\n" * 9999
        faults["signs of life"] = fails(
            repeats(p.until_closed(pings), pings), "too_long"
        )
    return faults


def most_memory(running: Process) -> int:
    """The most that it has ever had in memory, bytes."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.fault(31)
@either
@pytest.mark.long
def test_a_reply_without_an_end_fails_within_its_bounds(
    stage: Stage, protocol: Protocol
):
    check(stage, protocol, endless(protocol))


@pytest.mark.long
@pytest.mark.fault(31)
def test_a_reply_in_chunks_of_a_byte_fails_within_its_bounds(stage: Stage):
    # Eight million chunks would take longer than the server's patience.
    stage.env["QUOTABATCH_MAX_ANSWER"] = "1000000"
    head = ESPAI.head("Transfer-Encoding: chunked") + b"\r\n"
    tiny = repeats(head, b"1\r\nx\r\n" * 9999)
    check(stage, ESPAI, {"in tiny chunks": fails(tiny, "too_long")})


def check(stage: Stage, protocol: Protocol, faults: dict[str, Fault]) -> None:
    last = threading.Event()

    def script(connection: socket.socket, request: Request) -> None:
        if request.prompt in faults:
            faults[request.prompt].script(connection, request)
            return
        if request.prompt == "the last":
            last.wait(60)
        sends(protocol.stated())(connection, request)

    server = stage.keep(RawServer(script))
    configure(stage, protocol, server.url)
    fine = [f"fine {n}" for n in range(4)]
    prompts = [*fine, *faults, "the last"]
    stage.submit(prompts, "--max-attempts", 1)
    try:
        running = stage.start("run", "--max-failures", 100, "--concurrency", 4)
        wait_until(lambda: server.count == len(prompts), "the last call")
        wait_until(lambda: len(settled(stage)) == len(prompts) - 1, "the outcomes")
        memory = most_memory(running)
    finally:
        last.set()
    done = running.end()

    assert done.code == 1, done.err
    assert memory < MOST
    assert sorted(server.prompts) == sorted(prompts)
    results = {one["input"]["prompt"]: one for one in stage.export()}
    for name, fault in faults.items():
        found = results[name]
        assert (found["error"] or {}).get("code") == fault.code, name
        assert found["completion"] == (fault.text if fault.code is None else None), name
    assert all(results[name]["completion"] == TEXT for name in [*fine, "the last"])
    assert settled(stage) == [("spent",)] * len(prompts)
    # What is kept of it, for a person to look at, is no flood either.
    assert (stage.home / "quotabatch.db").stat().st_size < LARGEST
    assert files_with(stage, KEY) == []


def settled(stage: Stage) -> list[tuple[str]]:
    return query(stage, "SELECT state FROM entries WHERE state != 'reserved'")
