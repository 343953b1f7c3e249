"""What an endpoint says never moves a terminal: no order that stands in its words gets
there, wherever they are shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import socket
import threading

import pytest
from protocols import Protocol, either, event
from rawserver import RawServer, Request, sends
from stage import Stage
from wire import configure

#: What a terminal would obey: a clipboard that is written, a title, a place, the same
#: in 8 bits, a report that is asked for, a bell, a text that runs backwards.
ORDERS = (
    "\x1b]52;c;b3duZWQ=\x07",
    "\x1b]0;owned\x1b\\",
    "\x9d52;c;b3duZWQ=\x9c",
    "\x1b[2J\x1b[7;7H",
    "\x9b2J\x9b7;7H",
    "\x1bP+q544e\x1b\\",
    "\x1b[6n\x1bZ\x05",
    "\x07\b\b",
    "\u202egnorw\u2066\u200f",
    "\x1b]52;c;",
)
NASTY = "words" + "".join(f"<{order}>" for order in ORDERS)
#: A header holds no control characters but these.
IN_A_HEADER = "words<\x9b2J><\x9d52;c;b3duZWQ=\x9c>\u202e"
OBEYED = re.compile(
    r"\x1b[\]PXZ^_]|[\x80-\x9f\x05\x07\b]|\x1b\[(?:2J|7;7H|6n)"
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


#: Commands that have nothing to tell of it.
SILENT = {"quota --history", "doctor"}


def on_a_terminal(stage: Stage, *words: object) -> str:
    """All that a command shows on a terminal."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        # Linux says EIO when the other side is gone.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                shown.extend(piece)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    name = os.ttyname(theirs)
    size = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    stage.warm.run(
        {
            "argv": ["quotabatch", *map(str, words)],
            "env": stage.environ(size),
            "cwd": str(stage.folder),
            **dict.fromkeys(("stdin", "stdout", "stderr"), name),
        }
    )
    os.close(theirs)
    reading.join(60)
    os.close(ours)
    return shown.decode("utf-8", "replace")


def head(status: str, *fields: str, body: str = "") -> bytes:
    data = body.encode()
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


def nasty_replies(p: Protocol) -> dict[str, bytes]:
    error = json.dumps({"error": {"message": NASTY, "code": NASTY}})
    replies = {
        "an answer": p.chunked([nasty_answer(p)]),
        "an error": p.stated(error.encode()),
        "a refusal": head(f"400 {IN_A_HEADER}", body=NASTY),
        "a refusal as JSON": head("400 No", body=error),
        "a page": p.stated(f"<html><title>{NASTY}</title></html>".encode()),
        "a cut": p.chunked([nasty_answer(p)[:-30]], end=b""),
    }
    if p.has_an_end:
        calls = [{"id": NASTY, "function": {"name": NASTY, "arguments": NASTY}}]
        thought = event({"reasoning": NASTY, "tool_calls": calls})
        replies["a thought and a call"] = p.stated(thought + event({}, "tool_calls"))
        # A model and a reason of its end that nobody has heard of.
        replies["names"] = p.stated(event({"content": "words"}, NASTY, model=NASTY))
    return replies


def nasty_answer(p: Protocol) -> bytes:
    if p.has_an_end:
        return event({"content": NASTY}) + event({}, "stop")
    return NASTY.encode()


@either
@pytest.mark.fault(54)
@pytest.mark.long
def test_no_word_of_an_endpoint_moves_a_terminal(stage: Stage, protocol: Protocol):
    replies = nasty_replies(protocol)
    gone = json.dumps({"error": {"message": f"limit of 9 requests per day {NASTY}"}})
    last = {
        "moved": head("307 Moved", f"Location: http://localhost/{IN_A_HEADER}"),
        "the key": head("401 No", body=NASTY),
        "the quota": head("429 No", body=gone),
    }
    plays = replies | last

    def script(connection: socket.socket, request: Request) -> None:
        sends(plays[request.prompt])(connection, request)

    server = stage.keep(RawServer(script))
    configure(stage, protocol, server.url)
    jobs = [
        stage.submit(replies, "--max-attempts", 1),
        *(stage.submit([name], "--max-attempts", 1) for name in last),
    ]

    shown = {
        f"run {job}": on_a_terminal(stage, "run", job, "--concurrency", 1)
        for job in jobs
    }
    looks = [
        *(["show", 1, number] for number in range(1, len(replies) + 1)),
        *(["status", job] for job in jobs),
        ["quota"],
        ["quota", "--history"],
        ["doctor"],
        ["run"],
    ]
    for words in looks:
        shown[" ".join(map(str, words))] = on_a_terminal(stage, *words)

    assert server.prompts == list(plays)
    moved = {name: OBEYED.search(one) for name, one in shown.items()}
    assert moved == dict.fromkeys(shown)
    # The words themselves are shown, and on a terminal.
    silent = {name for name, one in shown.items() if "words" not in one}
    assert silent <= {"run 1", *SILENT, *(f"status {job}" for job in jobs[1:])}
    assert all("\x1b[?25l" in shown[f"run {job}"] for job in jobs)
