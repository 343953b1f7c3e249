"""An HTTP proxy on loopback that leads every host to one server, and a TLS front."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "model.example"


class Proxy:
    """A proxy in a thread of its own; `url` leads to it."""

    def __init__(self, target: str, login: str = "", tls: Path | None = None) -> None:
        """`target`: where all requests go. `tls`: the folder of a certificate."""
        self._target = urlsplit(target)
        self._login = b64encode(login.encode()).decode() if login else ""
        self._tls = tls
        #: The first line of each request to the proxy.
        self.lines: list[str] = []
        #: The requests that lacked the login.
        self.refused = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._talks: set[asyncio.Task[None]] = set()
        self.url = self._wait_for(self._start())

    def close(self) -> None:
        self._wait_for(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait_for(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> str:
        self._front = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls / "cert.pem", self._tls / "key.pem")
            self._front = await asyncio.start_server(
                self._noted(self._pass_on), "127.0.0.1", 0, ssl=context
            )
        self._server = await asyncio.start_server(
            self._noted(self._serve), "127.0.0.1", 0
        )
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        for server in (self._server, self._front):
            if server is not None:
                server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    def _noted(self, talk: Any) -> Any:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._talk(talk, reader, writer))
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)

        return accept

    async def _talk(
        self, talk: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await talk(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, _, rest = head.partition("\r\n")
        self.lines.append(line)
        if self._login and f"Proxy-Authorization: Basic {self._login}\r\n" not in head:
            self.refused += 1
            writer.write(
                b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            await writer.drain()
            return
        method, target, _ = line.split()
        if method == "CONNECT":
            assert self._front is not None
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            port = self._front.sockets[0].getsockname()[1]
            await self._pipe(reader, writer, "127.0.0.1", port)
            return
        path = urlsplit(target).path
        first = f"{method} {path} HTTP/1.1\r\n{rest}".encode()
        await self._pass_on(reader, writer, first)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes = b"",
    ) -> None:
        host, port = self._target.hostname, self._target.port
        assert host is not None
        assert port is not None
        await self._pipe(reader, writer, host, port, first)

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        port: int,
        first: bytes = b"",
    ) -> None:
        there, back = await asyncio.open_connection(host, port)
        back.write(first)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()
            with suppress(ConnectionError):
                await back.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def certificate(folder: Path) -> Path:
    """Make a certificate for HOST that signs itself."""
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", *kind, *files, *names], check=True, capture_output=True
    )
    return folder
