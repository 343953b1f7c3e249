"""The key comes to light nowhere: whatever an endpoint that knows it does with it, and
however a run ends.
"""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import catalogue
import pytest
from protocols import Protocol, both, either, event
from rawserver import RawServer, Request, sends, stalls
from stage import KEY, Result, Stage, wait_until
from wire import Fault, configure, files_with, query

CRASHING = Path(__file__).with_name("crashing.py")
#: What is looked for: a key whose end was cut off is a key that is known.
MOST_OF_IT = KEY[:16]
SPELLINGS = (
    MOST_OF_IT,
    base64.b64encode(KEY.encode()).decode()[:20],
    KEY.encode().hex(),
    "".join(f"\\u{ord(char):04x}" for char in MOST_OF_IT),
)


def echoing(protocol: Protocol) -> Protocol:
    """An endpoint that says the key in every place where it says anything."""
    fields = (f"X-Key: {KEY}", f"Set-Cookie: key={KEY}", f"X-RateLimit-Reset: {KEY}")
    return Protocol(
        name=protocol.name,
        text=f"{KEY} is yours",
        words=f"bad key {KEY}",
        fields=fields,
    )


def every_fault(protocol: Protocol) -> dict[str, Fault]:
    p = echoing(protocol)
    groups = ("no_reply", "slow", "refused", "no_answer", "odd", "no_text")
    return {
        f"{group}: {name}": fault
        for group in groups
        for name, fault in getattr(catalogue, group)(p).items()
    }


def leaks(stage: Stage, *results: Result) -> list[str]:
    """Where the key stands that it should not."""
    found = [
        f"{name} ({spelling})"
        for spelling in SPELLINGS
        for name in files_with(stage, spelling)
        if name != "keys.json"
    ]
    return found + [
        f"output {number}"
        for number, one in enumerate(results)
        if any(spelling in one.out + one.err for spelling in SPELLINGS)
    ]


def furnish(stage: Stage, protocol: Protocol, url: str) -> None:
    """The key is kept in its file, and temporary files are looked at too."""
    scratch = stage.folder / "tmp"
    scratch.mkdir()
    stage.env["TMPDIR"] = str(scratch)
    configure(stage, protocol, url)
    for name in ("ESPAI_API_KEY", "MINE_API_KEY"):
        stage.env.pop(name, None)
    done = stage.quick("--debug", "keys", "set", stdin=KEY.encode() + b"\n")
    assert done.code == 0, done.err
    assert leaks(stage, done) == []


def everything_said(stage: Stage, requests: int) -> Iterator[Result]:
    """What any command can be made to say afterwards."""
    for words in (
        ["status"],
        ["status", 1, "--json"],
        ["quota"],
        ["quota", "--json"],
        ["quota", "--history"],
        ["export", 1],
        ["export", 1, "--format", "csv", "-o", "out.csv"],
        ["keys", "list"],
        ["config"],
        ["providers"],
        ["models"],
        ["doctor"],
        ["schedule", "print", "--for", "cron"],
        *(["show", 1, number] for number in range(requests, 0, -31)),
        ["show", 1, requests - 1, "--json"],
    ):
        done = stage.quick("--debug", *words)
        assert done.code == 0 or words == ["doctor"], done.err
        yield done


@either
@pytest.mark.fault(54)
@pytest.mark.long
def test_no_fault_of_an_endpoint_that_repeats_the_key_brings_it_to_light(
    stage: Stage, protocol: Protocol
):
    faults = every_fault(protocol)
    last = threading.Event()

    def script(connection: socket.socket, request: Request) -> None:
        if request.prompt in faults:
            faults[request.prompt].script(connection, request)
            return
        if request.prompt == "the last":
            last.wait(60)
        sends(echoing(protocol).stated())(connection, request)

    server = stage.keep(RawServer(script))
    furnish(stage, protocol, server.url)
    stage.env |= catalogue.IMPATIENT
    prompts = [*(f"fine {n}" for n in range(64)), *faults, "the last"]
    stage.submit(prompts, "--max-attempts", 1)
    try:
        flags = ("--max-failures", 100_000, "--concurrency", 64)
        running = stage.start("--debug", "run", *flags)
        wait_until(lambda: server.count == len(prompts), "the last call")
        # While it runs there are a write-ahead log, a lock, a process.
        assert (stage.home / "quotabatch.db-wal").stat().st_size > 0
        assert leaks(stage) == []
        for name in ("cmdline", "comm"):
            data = Path(f"/proc/{running.pid}/{name}").read_bytes()
            assert MOST_OF_IT.encode() not in data
    finally:
        last.set()
    done = running.end()

    assert done.code == 1, done.err
    assert server.count == len(prompts)
    assert leaks(stage, done, *everything_said(stage, len(prompts))) == []
    # It was said, and would have been stored.
    hidden = query(stage, "SELECT code FROM errors WHERE message LIKE '%[key]%'")
    assert {"endpoint_error", "html", "http_400", "http_500"} <= {
        one for (one,) in hidden
    }
    answers = [one["completion"] for one in stage.export() if one["completion"]]
    assert "[key] is yours" in answers
    assert len(answers) > 64


@both
@pytest.mark.fault(54)
@pytest.mark.long
def test_a_key_that_a_cut_goes_through_is_hidden_too(stage: Stage, protocol: Protocol):
    p = echoing(protocol)
    pieces = [event({"content": c}) if p.has_an_end else c.encode() for c in p.text]
    cuts = {}
    for size in range(len(MOST_OF_IT), len(KEY)):
        cuts[f"{size} characters"] = p.chunked(pieces[:size], end=b"")
        cuts[f"{size}, until closed"] = p.until_closed(b"".join(pieces[:size]))
        # A part of it may stand where an error is cut short.
        said = json.dumps({"error": {"message": KEY}})[: size + 24].encode()
        cuts[f"{size} of an error"] = p.chunked([said], end=b"")
    server = stage.keep(
        RawServer(lambda one, request: sends(cuts[request.prompt])(one, request))
    )
    furnish(stage, protocol, server.url)
    stage.submit(cuts, "--max-attempts", 1)

    done = stage.quick("--debug", "run", "--max-failures", 100)

    assert done.code == 1
    assert server.count == len(cuts)
    shows = [stage.quick("show", 1, number) for number in range(1, len(cuts) + 1, 5)]
    assert leaks(stage, done, stage.quick("export", 1), *shows) == []


@either
@pytest.mark.fault(54)
@pytest.mark.long
def test_a_fault_of_our_own_brings_it_not_to_light_either(
    stage: Stage, protocol: Protocol
):
    server = stage.keep(RawServer(sends(echoing(protocol).stated())))
    furnish(stage, protocol, server.url)
    stage.submit([f"frage {n}" for n in range(9)], "--no-dedupe")

    crashed = subprocess.run(
        [sys.executable, str(CRASHING), "4", "--debug", "run", "--concurrency", "3"],
        env=stage.environ(),
        cwd=stage.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )

    done = Result(crashed.returncode, crashed.stdout.decode(), crashed.stderr.decode())
    assert done.code == 1, done.err
    assert "unexpected RuntimeError" in done.err
    assert "never retrieved" not in done.err
    assert server.count == 4
    assert leaks(stage, done, stage.quick("--debug", "status", 1)) == []


@either
@pytest.mark.fault(54)
@pytest.mark.parametrize("how", ["killed", "interrupted twice"])
@pytest.mark.long
def test_a_run_that_ends_in_the_middle_leaves_it_nowhere(
    stage: Stage, protocol: Protocol, how: str
):
    p = echoing(protocol)
    answer, half = p.stated(), p.chunked(end=b"")[:-30]

    def script(connection: socket.socket, request: Request) -> None:
        play = stalls(half) if 4 < request.number < 8 else sends(answer)
        play(connection, request)

    server = stage.keep(RawServer(script))
    furnish(stage, protocol, server.url)
    stage.submit([f"frage {n}" for n in range(9)])
    running = stage.start("--debug", "run", "--concurrency", 3)
    wait_until(lambda: server.count == 7, "three calls in flight")
    if how == "killed":
        done = running.kill()
    else:
        running.signal(signal.SIGINT)
        running.says("Finishing the calls in flight")
        running.signal(signal.SIGINT)
        done = running.end()
        assert done.code == 130

    assert leaks(stage, done) == []
    again = stage.quick("--debug", "run", "--max-calls", 1)
    assert again.code == 75
    looks = [stage.quick("--debug", *words) for words in (["quota"], ["show", 1, 6])]
    assert leaks(stage, again, *looks) == []
