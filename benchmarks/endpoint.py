"""A stand-in that is not the bottleneck: completions of eight chunks in one write.

A process of its own on loopback. It knows just enough HTTP to be asked by a client that
sends a Content-Length; everything that is asked gets the same answer, after a latency:
as a stream, or as one object where none is asked for.
`GET /told` says what came since it was asked last: calls, when the first came in, and
the one behind a ramp, when the last answer went out, by the clock that all share, and
how many answers there were.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson

CHUNKS = 8
#: A run that doubles up to a thousand at once has made so many calls by then.
LATER = 2000
_WORDS = "Hydrogen lifts balloons, and fuels rockets and some new cars."
_STREAM = re.compile(rb'"stream"\s*:\s*true')


def answer(number: int) -> bytes:
    """The whole reply: head and events, framed by its length. Its name has a number."""
    size = -(-len(_WORDS) // CHUNKS)
    parts = [_WORDS[at : at + size] for at in range(0, len(_WORDS), size)]
    name = f"chatcmpl-{number:08d}"
    events = [_event(name, {"content": part}, None) for part in parts[:-1]]
    events.append(_event(name, {"content": parts[-1]}, "stop"))
    return _reply("text/event-stream", b"".join(events) + b"data: [DONE]\n\n")


def whole() -> bytes:
    """The same as one object."""
    message = {"role": "assistant", "content": _WORDS}
    said = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20},
    }
    return _reply("application/json", orjson.dumps(said))


def _reply(content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _event(name: str, delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    data = {
        "id": name,
        "object": "chat.completion.chunk",
        "created": 1700000000 + int(name[-4:]),
        "model": "bench",
        "choices": [choice],
    }
    return b"data: " + orjson.dumps(data) + b"\n\n"


class Told:
    """What was asked since it was told last."""

    def __init__(self, later: int) -> None:
        self.calls = self.answers = 0
        self.ramp = later
        self.first = self.later = self.last = 0.0

    def take(self) -> bytes:
        told = {
            "calls": self.calls,
            "answers": self.answers,
            "first": self.first,
            "later": self.later or self.first,
            "last": self.last,
        }
        self.calls = self.answers = 0
        self.later = 0.0
        return orjson.dumps(told)


class Connection(asyncio.Protocol):
    """One connection; a client asks one thing after another on it."""

    def __init__(self, told: Told, latency: float) -> None:
        self._told = told
        self._latency = latency
        self._data = b""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # uvloop's is none of asyncio's.
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._data = data
            return
        head = data[:end].lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(data) < end + 4 + size:
            self._data = data
            return
        self._data = b""
        if head.startswith(b"post"):
            self._asked(next(ANSWERS) if _STREAM.search(data, end) else WHOLE)
        else:
            self._say(self._told.take() if b"/told" in head else b"", head)

    def _asked(self, answer: bytes) -> None:
        told = self._told
        if not told.calls:
            told.first = time.perf_counter()
        elif told.calls == told.ramp:
            told.later = time.perf_counter()
        told.calls += 1
        if self._latency:
            self._timer = self._loop.call_later(self._latency, self._answer, answer)
        else:
            self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        self._transport.write(answer)
        self._told.answers += 1
        self._told.last = time.perf_counter()

    def _say(self, body: bytes, head: bytes) -> None:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        said = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
        # The length is told, and no body sent, where only the head was asked for.
        self._transport.write(
            said.encode() + (b"" if head.startswith(b"head") else body)
        )


# No two that come one after the other are the same, as with real ones.
ANSWERS = itertools.cycle([answer(number) for number in range(997)])
WHOLE = whole()


async def _serve(latency: float, later: int) -> None:
    told = Told(later)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(told, latency), "127.0.0.1", 0, backlog=4096
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    # It lives for as long as somebody holds the other end of its input.
    await loop.run_in_executor(None, sys.stdin.read)


class Endpoint:
    """The process, as those see it that measure."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def told(self) -> dict[str, Any]:
        """Calls since this was asked last, `first` in and `last` answer out."""
        line = HTTPConnection("127.0.0.1", self._port)
        with contextlib.closing(line):
            line.request("GET", "/told")
            told: dict[str, Any] = orjson.loads(line.getresponse().read())
            return told


@contextlib.contextmanager
def endpoint(latency: float = 0.0, later: int = LATER) -> Iterator[Endpoint]:
    """An endpoint that answers after so many seconds, while this lasts.

    So many calls are a ramp: it tells when the one behind them came in.
    """
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(latency), str(later)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        yield Endpoint(int(child.stdout.readline()))
    finally:
        child.kill()
        child.communicate()


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_serve(float(sys.argv[1]), int(sys.argv[2])))
