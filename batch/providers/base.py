"""What the rest of the house knows of an endpoint, and a protocol of its replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from batch.core.model import Claim, Reply
from batch.core.statements import Statement

OnText = Callable[[str], None]

#: No headers.
NONE: Mapping[str, str] = MappingProxyType({})


class CancelledUnsentError(asyncio.CancelledError):
    """The call was given up before anything of it reached the endpoint."""


class Decoder(Protocol):
    """The body of one reply, as it comes in; pure."""

    def feed(self, data: bytes) -> str:
        """Take some bytes; the text that they complete. NotTextError: give up."""

    def finish(
        self, *, framed: bool, content_type: str, headers: Mapping[str, str]
    ) -> Reply:
        """The whole reply is here. `framed`: its end was marked, by the protocol.

        `headers`: those that are to go with it.
        """

    def partial(self) -> str:
        """The text so far."""

    def is_complete(self) -> bool:
        """Whether the outcome is settled, however the connection ends."""


class Endpoint(Protocol):
    """One account's way to its provider."""

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        """Make one attempt; `on_text` is told of the text as it streams in.

        CancelledUnsentError where it is cancelled before anything was sent.
        """

    async def time(self) -> datetime | None:
        """What the endpoint's clock says; it costs no call. None: it does not say."""

    async def reach(self) -> datetime | None:
        """Like `time`; OSError, in a sentence, where no reply comes."""

    async def balance(self, now: datetime) -> Statement | None:
        """What the provider counts itself, where its profile says how to ask.

        BalanceError where it does not answer. It costs no call.
        """

    async def close(self) -> None:
        """Let go of the connections."""
