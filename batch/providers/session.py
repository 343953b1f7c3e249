"""Calls by aiohttp's public interface alone, each over a connection of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp

from batch.providers.proxies import named, on_the_way
from batch.providers.transport import Sending, by_proxy


class Response:
    """A reply of the session, with the proxy that may have given it."""

    __slots__ = ("_response", "proxy")

    def __init__(self, response: aiohttp.ClientResponse, proxy: str | None) -> None:
        self._response = response
        self.proxy = proxy

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str | None:
        return self._response.reason

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def content_type(self) -> str:
        return self._response.content_type

    @property
    def content(self) -> aiohttp.StreamReader:
        return self._response.content

    def close(self) -> None:
        self._response.close()


class SessionTransport:
    """A session that sends each call once, on a fresh connection."""

    def __init__(
        self,
        connector: aiohttp.TCPConnector,
        headers: Mapping[str, str],
        connect: float,
        *,
        idle: int = 0,
        proxy: str = "",
    ) -> None:
        """`idle`: asks for kept connections, of which this transport has none."""
        # The session's own headers would be told to proxies too, the key with them.
        self._headers = headers
        self._proxy = proxy
        #: By URL: the arguments of its calls, and the proxy that reads them.
        self._ways: dict[str, tuple[dict[str, Any], str | None]] = {}
        tracing = aiohttp.TraceConfig()
        # The request is written as soon as there is a connection.
        tracing.on_connection_create_end.append(_begun)
        tracing.on_connection_reuseconn.append(_begun)
        self._session = aiohttp.ClientSession(
            connector=connector,
            # Whoever asks beside the calls uses it too, and closes it.
            connector_owner=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[tracing],
        )

    async def post(self, url: str, body: bytes, sending: Sending) -> Response:
        if url not in self._ways:
            proxy = on_the_way(url, self._proxy)
            way, login = by_proxy(url, proxy)
            # With TLS, the proxy makes a tunnel and reads nothing of the call.
            reads = proxy is not None and "proxy_headers" not in way
            relay = named(url, self._proxy) if reads else None
            self._ways[url] = {**way, "headers": {**self._headers, **login}}, relay
        way, relay = self._ways[url]
        response = await self._session.post(
            url, data=body, allow_redirects=False, trace_request_ctx=sending, **way
        )
        return Response(response, relay)

    async def close(self) -> None:
        await self._session.close()


async def _begun(
    session: aiohttp.ClientSession, context: SimpleNamespace, told: object
) -> None:
    context.trace_request_ctx.begun = True
