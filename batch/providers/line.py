"""The way to an endpoint: one POST, its bytes to a decoder, every fault to a Failure.

One attempt is one HTTP request: nothing is retried, redirected or decompressed here.
Errors of the HTTP client hold the key in their repr; none of them leaves this room.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from http import HTTPStatus

import aiohttp

from batch.core.model import Failure, Reply
from batch.core.plain import Veil, plain, redact
from batch.providers import proxies
from batch.providers.aside import Aside, read_at_most
from batch.providers.base import CancelledUnsentError, Decoder, OnText
from batch.providers.bounds import Bounds
from batch.providers.faults import named
from batch.providers.refusals import denied, refused
from batch.providers.transport import Incoming, Sending, chosen

_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)

#: What is read of the body of a refusal, bytes.
REFUSAL_READ = 64 * 1024
#: How long it is waited for, seconds.
REFUSAL_WAIT = 2.0
#: How long is waited for what comes behind an answer, its usage, seconds.
AFTER_END = 5.0
#: Codes of calls that got no connection.
NO_CONNECTION = frozenset({"connect", "connect_timeout", "dns"})


class Line:
    """The HTTP side of an endpoint: a transport, its bounds, and the key to hide."""

    def __init__(
        self,
        *,
        pooled: bool,
        bounds: Bounds,
        key: str | None,
        headers: Mapping[str, str],
        kept: Collection[str] = (),
        proxy: str = "",
    ) -> None:
        """`headers`: of every call. `kept`: those of an answer that are wanted.

        `proxy`: the setting; see providers.proxies.
        """
        # To ask for it at each call is a system call each time, up to Python 3.11.
        self._loop = asyncio.get_running_loop()
        self._bounds = bounds
        self._key = key
        #: Those of an answer's headers that are kept, lower case.
        self._kept_headers = frozenset(kept) | {"date"}
        own = {"User-Agent": "quotabatch", "Accept-Encoding": "identity"}
        # A kept connection that the server has closed in the meantime costs a credit
        # for nothing: profiles with a small quota take a fresh one a call. The
        # connector's own pool does not look whether bytes have come in.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        connect = min(bounds.connect, bounds.first_byte, bounds.total)
        self._proxy = proxy
        self._transport = chosen(
            connector,
            {**own, **headers},
            connect,
            idle=bounds.idle if pooled else 0,
            proxy=proxy,
        )
        #: For what is asked beside the calls.
        self.aside = Aside(connector, bounds.connect, own, proxy)

    async def close(self) -> None:
        await self._transport.close()
        await self.aside.close()

    async def post(
        self, url: str, body: bytes, decoder: Decoder, on_text: OnText | None
    ) -> Reply:
        """Send this, and hand what comes back to the decoder."""
        sending = Sending(self._loop.time() + self._bounds.total)
        try:
            reply = await self._exchange(url, body, decoder, on_text, sending)
        except asyncio.CancelledError:
            if sending.begun:
                raise
            raise CancelledUnsentError from None
        except Exception as error:
            # Not all that it raises is a ClientError; and nothing may leave this room.
            reply = self._denied(error, url) or self._broken(
                error, url, decoder, sending
            )
        return self._without_key(reply) if isinstance(reply, Failure) else reply

    def _denied(self, error: Exception, url: str) -> Failure | None:
        """The Failure of a proxy that makes no tunnel without a login."""
        if not isinstance(error, aiohttp.ClientHttpProxyError) or error.status != 407:
            return None
        proxy = proxies.named(url, self._proxy)
        return denied(proxy, error.message, sent=False)

    def _broken(
        self, error: Exception, url: str, decoder: Decoder, sending: Sending
    ) -> Reply:
        code, message = named(error, sent=sending.begun)
        if code in NO_CONNECTION and not sending.begun:
            # What cannot be connected to may be the proxy alone.
            proxy = proxies.named(url, self._proxy)
            message += f", by the proxy {proxy} (see `proxy`)" if proxy else ""
        now = self._loop.time()
        if code == "timeout" and now >= sending.ends_at:
            message = f"no whole answer within {self._bounds.total:g} seconds"
        return self._settled(decoder, sending.incoming) or _fault(
            code, message, decoder, sent=sending.begun
        )

    async def _exchange(
        self,
        url: str,
        body: bytes,
        decoder: Decoder,
        on_text: OnText | None,
        sending: Sending,
    ) -> Reply:
        began_at = sending.ends_at - self._bounds.total
        first_byte_at = min(began_at + self._bounds.first_byte, sending.ends_at)
        async with asyncio.timeout_at(first_byte_at) as deadline:
            incoming = await self._transport.post(url, body, sending)
            try:
                return await self._read(incoming, deadline, decoder, on_text, sending)
            finally:
                # A reply that was read to its end has let go of its connection.
                incoming.close()

    async def _read(
        self,
        incoming: Incoming,
        deadline: asyncio.Timeout,
        decoder: Decoder,
        on_text: OnText | None,
        sending: Sending,
    ) -> Reply:
        loop, bounds = self._loop, self._bounds
        if not _is_plain_answer(incoming):
            # What a refusal says has bounds of its own.
            until = deadline.when()
            deadline.reschedule(None)
            refusal = await self._refused(incoming)
            if refusal is not None:
                return refusal
            deadline.reschedule(until)
        sending.incoming = incoming
        ends_at = sending.ends_at
        size = 0
        veil = Veil(self._key) if on_text is not None else None
        content = incoming.content
        while data := await content.readany():
            size += len(data)
            if size > bounds.size:
                incoming.close()
                return self._settled(decoder, incoming) or _fault(
                    "too_long",
                    f"the answer is larger than {bounds.size:,} bytes",
                    decoder,
                )
            text = decoder.feed(data)
            if text and on_text is not None and veil is not None:
                on_text(veil.feed(text))
            if content.at_eof():
                break
            if decoder.is_complete():
                ends_at = min(ends_at, loop.time() + AFTER_END)
            deadline.reschedule(min(loop.time() + bounds.silence, ends_at))
        return self._finished(decoder, incoming, framed=_is_framed(incoming))

    def _finished(self, decoder: Decoder, response: Incoming, *, framed: bool) -> Reply:
        reply = decoder.finish(
            framed=framed,
            content_type=response.content_type,
            headers=self._kept(response),
        )
        if isinstance(reply, Failure) and reply.status == HTTPStatus.OK:
            # A decoder sees the body alone, and takes each success for 200.
            return replace(reply, status=response.status)
        return reply

    def _settled(self, decoder: Decoder, response: Incoming | None) -> Reply | None:
        """The reply, where the connection broke only after its outcome was settled."""
        if response is None:
            return None
        try:
            reply = self._finished(decoder, response, framed=False)
        except Exception:
            return None
        return reply if decoder.is_complete() else None

    def _kept(self, response: Incoming) -> dict[str, str]:
        found = response.headers
        return {name: found[name] for name in self._kept_headers if name in found}

    async def _refused(self, response: Incoming) -> Failure | None:
        """The Failure that status and headers amount to; None: read the answer."""
        key = self._key
        if 300 <= response.status < 400:
            target = plain(response.headers.get("Location", "nowhere"), 200, key)
            return Failure(
                code="redirect",
                message=f"the endpoint redirects to {target}, which is not followed: "
                "set base_url to where the service is now",
                status=response.status,
                sent=True,
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() not in ("", "identity"):
            shown = plain(encoding, 20, key).lower()
            return Failure(
                code="encoded",
                message=f"the reply is compressed ({shown}), though we asked for it "
                "plain",
                status=response.status,
                sent=True,
            )
        if _has_answer_status(response):
            return None
        if response.status == 407 and response.proxy:
            return denied(response.proxy, response.reason or "", sent=True)
        wait = min(REFUSAL_WAIT, self._bounds.silence / 2)
        data = await read_at_most(response, REFUSAL_READ, wait)
        text = data.decode("utf-8", "replace")
        return refused(
            response.status,
            response.headers,
            text,
            reason=response.reason or "",
            content_type=response.content_type,
            key=key,
        )

    def _without_key(self, failure: Failure) -> Failure:
        code = failure.endpoint_code
        return replace(
            failure,
            message=redact(failure.message, self._key),
            endpoint_code=None if code is None else redact(code, self._key),
            headers={k: redact(v, self._key) for k, v in failure.headers.items()},
            partial=redact(failure.partial, self._key, cut=True),
        )


def _fault(code: str, message: str, decoder: Decoder, *, sent: bool = True) -> Failure:
    return Failure(code=code, message=message, sent=sent, partial=decoder.partial())


def _is_plain_answer(response: Incoming) -> bool:
    """Whether neither its status nor its encoding needs a closer look."""
    return _has_answer_status(response) and "Content-Encoding" not in response.headers


def _has_answer_status(response: Incoming) -> bool:
    """Tell a reply that can be a whole answer: any success that is not a part."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        return not _is_part(response.headers.get("Content-Range", ""))
    return 200 <= response.status < 300


def _is_part(content_range: str) -> bool:
    """Tell whether a Content-Range states less than the whole; without one: False."""
    found = _RANGE.fullmatch(content_range.strip())
    if found is None:
        return bool(content_range.strip())
    first, last, size = (int(one) for one in found.groups())
    return first != 0 or last + 1 != size


def _is_framed(response: Incoming) -> bool:
    """Whether the reply's end was marked; else only the connection's end tells it."""
    headers = response.headers
    transfer = headers.get("Transfer-Encoding", "")
    return "Content-Length" in headers or "chunked" in transfer.lower()
