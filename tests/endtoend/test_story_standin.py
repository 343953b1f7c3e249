"""The stand-in and the demo, as a user starts them."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from typing import Any

import pytest
from stage import MODEL, Process, Stage


def asked(url: str, body: Any = None, *, post: bool = False) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method="POST" if post else None)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read().decode()


def question(text: str) -> dict[str, Any]:
    return {"model": "m", "api_key": "any", "message": [message(text)]}


def message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def serving(stage: Stage, *flags: object) -> tuple[Process, str]:
    """A stand-in in the foreground of another terminal, and where it is."""
    process = stage.start("standin", "--latency", 0, "--pace", 0, *flags)
    process.says("Ctrl-C ends it")
    url = process.err.partition("http://")[2].partition(";")[0]
    return process, f"http://{url}"


def test_the_stand_in_counts_refuses_and_has_a_next_day(stage: Stage):
    process, url = serving(stage, "--port", 0, "--limit", 2)
    report = url.removesuffix("/v1") + "/standin"

    answers = [asked(f"{url}/llm", question(text)) for text in ("a", "b", "c")]

    assert answers[:2] == ["[m] 答：a", "[m] 答：b"]
    assert json.loads(answers[2])["code"] == 4002
    told = json.loads(asked(report))
    assert (told["limit"], told["calls"], told["calls_today"]) == (2, 3, 2)
    assert [call["prompt"] for call in told["log"]] == ["a", "b", "c"]
    assert [call["outcome"] for call in told["log"]] == ["answered"] * 2 + ["refused"]
    asked(f"{report}/next-day", post=True)
    assert json.loads(asked(report))["calls_today"] == 0
    assert asked(f"{url}/llm", question("d")) == "[m] 答：d"

    process.signal(signal.SIGINT)
    done = process.end()
    assert done.code == 0
    assert done.out == ""
    assert "4 calls received" in done.err


@pytest.mark.long
def test_the_command_line_of_its_first_lines_works(stage: Stage):
    process, url = serving(stage, "--port", 0)
    process.says(f"QUOTABATCH_HOME=$(mktemp -d) QUOTABATCH_BASE_URL={url}")
    stage.submit(["eins", "zwei"])

    done = stage.run("run", env={"QUOTABATCH_BASE_URL": url})

    assert done.code == 0
    assert [one["completion"] for one in stage.export()] == [
        f"[{MODEL}] 答：eins",
        f"[{MODEL}] 答：zwei",
    ]
    process.signal(signal.SIGTERM)
    done = process.end()
    assert "2 calls received" in done.err
    assert "Traceback" not in done.err


def test_a_port_that_is_taken_is_said_in_one_line(stage: Stage):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = stage.run("standin", "--port", port)
    assert done.code == 2
    assert done.out == ""
    assert str(port) in done.err
    assert "--port" in done.err
    assert len(done.err.splitlines()) == 1
    assert stage.quick("standin", "--port", 70_000).code == 2


@pytest.mark.long
def test_faults_that_there_are_not_are_refused_at_the_start(stage: Stage):
    for script in ("x", "a=cut", "3=http:abc"):
        done = stage.run("standin", "--port", 0, "--fault", script, seconds=10)
        assert done.code == 2, script
        assert script in done.err
        assert len(done.err.splitlines()) == 1
    assert stage.quick("standin", "--zone", "Mars").code == 2


@pytest.mark.long
def test_it_ends_at_once_though_a_call_is_stalled(stage: Stage):
    process, url = serving(stage, "--port", 0, "--fault", "*=stall")
    port = int(url.removesuffix("/v1").rpartition(":")[2])
    body = json.dumps(question("a")).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/llm HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        process.signal(signal.SIGINT)
        done = process.end(timeout=20)
    assert done.code == 0
    assert "1 call received" in done.err


@pytest.mark.long
def test_a_client_that_hangs_up_or_sends_rubbish_is_no_traceback(stage: Stage):
    process, url = serving(stage, "--port", 0)
    port = int(url.removesuffix("/v1").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/llm HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nrubbish"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    process.signal(signal.SIGINT)
    assert "Traceback" not in process.end().err


@pytest.mark.long
def test_the_demo_tells_the_story_and_ends_with_0(stage: Stage):
    done = stage.run("demo")

    assert done.code == 0, done.err
    assert "Exit code 75" in done.err
    assert "Exit code 0: all done" in done.err
    assert "The next day" in done.err
    assert "60 calls, for 60 different prompts" in done.err
    assert "Error" not in done.err
    # It leaves nothing in the user's own home.
    assert not stage.home.exists()
