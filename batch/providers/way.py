"""One key's way to a provider: what is the same in every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from batch.core.model import Failure, Reply
from batch.core.statements import Statement
from batch.providers.balance import ask_balance
from batch.providers.base import NONE, Decoder, OnText
from batch.providers.bounds import Bounds
from batch.providers.line import Line
from batch.providers.profiles import Profile


class Way:
    """A line to a profile's base_url, at the path of its protocol."""

    def __init__(
        self,
        profile: Profile,
        key: str | None,
        bounds: Bounds,
        path: str,
        headers: Mapping[str, str] = NONE,
    ) -> None:
        """`headers`: of every call, beside its content type."""
        self.profile = profile
        self.key = key
        self._url = profile.base_url.rstrip("/") + path
        self._line = Line(
            pooled=profile.pooled,
            bounds=bounds,
            key=key,
            headers={"Content-Type": "application/json", **headers},
            kept=profile.headers,
            proxy=profile.proxy,
        )

    async def post(
        self, body: Mapping[str, Any], decoder: Decoder, on_text: OnText | None
    ) -> Reply:
        """Send this as JSON, and hand what comes back to the decoder."""
        try:
            data = orjson.dumps(body)
        except TypeError:
            return Failure(
                code="unsendable",
                message="the request cannot be written as JSON",
                sent=False,
            )
        return await self._line.post(self._url, data, decoder, on_text)

    async def time(self) -> datetime | None:
        return await self._line.aside.time(self.profile.base_url)

    async def reach(self) -> datetime | None:
        return await self._line.aside.reach(self.profile.base_url)

    async def balance(self, now: datetime) -> Statement | None:
        profile = self.profile
        if profile.balance is None:
            return None
        return await ask_balance(
            self._line.aside, profile.balance, self.key, profile.quotas, now
        )

    async def close(self) -> None:
        await self._line.close()
