"""Questions beside the calls: they cost none, and may be asked again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from batch.providers.faults import named
from batch.providers.proxies import on_the_way
from batch.providers.transport import Incoming, by_proxy

#: What is read of a reply, bytes.
READ = 64 * 1024
#: How long a question beside the calls may take, seconds.
ASIDE_WAIT = 10.0


class Aside:
    """Another use of a line's connections."""

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        connect: float,
        headers: Mapping[str, str],
        proxy: str = "",
    ) -> None:
        """`connect`: how long a connection may take, seconds.

        `proxy`: the setting; see providers.proxies.
        """
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=headers,
        )

    async def close(self) -> None:
        """Let go of the connections, the line's too."""
        await self._session.close()

    def _way(self, url: str) -> tuple[dict[str, Any], dict[str, str]]:
        return by_proxy(url, on_the_way(url, self._proxy))

    async def get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Read a resource: its status and its beginning. OSError: no reply.

        Unlike a call, it may be repeated by the HTTP client.
        """
        try:
            way, login = self._way(url)
            async with (
                asyncio.timeout(ASIDE_WAIT),
                self._session.get(
                    url,
                    headers={**headers, **login},
                    allow_redirects=False,
                    **way,
                ) as response,
            ):
                data = await read_at_most(response, READ, ASIDE_WAIT)
                return response.status, data
        except Exception as error:
            raise OSError(named(error, sent=True)[1]) from None

    async def time(self, url: str) -> datetime | None:
        """The Date of a reply to a HEAD at the root of this URL."""
        try:
            return await self.reach(url)
        except OSError:
            # No clock to compare with, for whatever reason.
            return None

    async def reach(self, url: str) -> datetime | None:
        """Like `time`; OSError, in a sentence, where no reply comes."""
        root = urlsplit(url)._replace(path="/", query="", fragment="").geturl()
        try:
            way, login = self._way(root)
            async with (
                asyncio.timeout(ASIDE_WAIT),
                self._session.head(
                    root,
                    headers=login,
                    allow_redirects=False,
                    **way,
                ) as response,
            ):
                # A cache says what time it was.
                date = "" if "Age" in response.headers else response.headers.get("Date")
                return http_date(date or "")
        except Exception as error:
            raise OSError(named(error, sent=True)[1]) from None


def http_date(text: str) -> datetime | None:
    """The moment of a Date header; None where it has none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else None


async def read_at_most(
    response: aiohttp.ClientResponse | Incoming, most: int, wait: float
) -> bytes:
    """The beginning of a body: so many bytes, or what comes within this time."""
    data = bytearray()
    # What came says enough, so neither a cut nor silence is waited for.
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(wait):
            async for piece in response.content.iter_any():
                data += piece
                if len(data) >= most:
                    break
    response.close()
    return bytes(data[:most])
