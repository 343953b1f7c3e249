"""An endpoint of bytes: a socket that counts requests and sends back what a test wants,
right or wrong, cut anywhere.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from batch.clock import SystemClock

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    number: int
    head: str
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        messages = self.body.get("message") or self.body["messages"]
        return str(messages[-1]["content"])


Script = Callable[[socket.socket, Request], None]


class RawServer:
    """Answers every request by a script, on a connection of its own."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/v1"
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def prompts(self) -> list[str]:
        return [request.prompt for request in self.requests]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(
                target=self._serve, args=(connection,), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            # The other side may hang up.
            with contextlib.suppress(OSError), self._secured(connection) as secured:
                request = self._receive(secured)
                if request is not None:
                    self._script(secured, request)

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_side=True)

    def _receive(self, connection: socket.socket) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        if not sum(lengths):
            # No call: somebody asks for the time.
            date = format_datetime(SystemClock().now(), usegmt=True)
            head = (
                f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n"
            )
            connection.sendall(head.encode())
            return None
        while len(body) < sum(lengths):
            piece = connection.recv(65536)
            if not piece:
                return None
            body += piece
        with self._lock:
            request = Request(len(self.requests) + 1, head.decode(), json.loads(body))
            self.requests.append(request)
        return request


# What a script sends.


def whole(body: str | bytes, head: bytes = HEAD) -> bytes:
    """A reply whose length is stated."""
    data = body.encode() if isinstance(body, str) else body
    return head + b"Content-Length: %d\r\n\r\n" % len(data) + data


def chunked(pieces: Iterable[bytes], *, end: bytes = b"0\r\n\r\n") -> bytes:
    """A reply in chunks; without its `end` it is cut."""
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece]
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + end


def byte_by_byte(text: str) -> list[bytes]:
    data = text.encode()
    return [data[at : at + 1] for at in range(len(data))]


def sends(data: bytes) -> Script:
    """Send these bytes, then close."""

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(data)

    return script


def resets(data: bytes) -> Script:
    """Send these bytes, then break the connection."""

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(data)
        no_farewell = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_farewell)

    return script


def stalls(data: bytes) -> Script:
    """Send these bytes, then nothing, until the other side hangs up."""

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(data)
        while connection.recv(65536):
            pass

    return script


def repeats(data: bytes, piece: bytes, pause: float = 0.0) -> Script:
    """Send these bytes, then that piece over and over, until the other side hangs up.

    `pause`: seconds between the pieces.
    """

    def script(connection: socket.socket, _request: Request) -> None:
        clock = SystemClock()
        # Who is still there by then has no patience of its own.
        until = clock.monotonic() + 30
        connection.sendall(data)
        while clock.monotonic() < until:
            connection.sendall(piece)
            if pause:
                threading.Event().wait(pause)

    return script
