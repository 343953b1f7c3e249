"""A provider's own count, where it tells it on request: one GET, one JSON path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from batch.core.quota import Quota
from batch.core.statements import Statement, number
from batch.core.waits import parse_wait

if TYPE_CHECKING:
    from batch.providers.aside import Aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Where a provider tells what is left, and where in its reply that stands.

    Paths are keys joined by dots, list places as numbers: "data.quota.0.remaining".
    """

    url: str
    #: The name of the quota that it is about.
    quota: str
    #: Sent with it; "{key}" stands for the key.
    headers: Mapping[str, str]
    remaining: str = ""
    used: str = ""
    limit: str = ""
    reset: str = ""
    #: Its URL below the provider's base_url, where it was given so.
    path: str = ""

    def at(self, base_url: str) -> Balance | None:
        """The same, where the provider is elsewhere; None: it is not asked there.

        The key must not go to a host that nobody points to any more.
        """
        if self.path:
            return replace(self, url=base_url.rstrip("/") + self.path)
        here = urlsplit(self.url).hostname == urlsplit(base_url).hostname
        return self if here else None


class BalanceError(Exception):
    """It could not be read; one sentence says why."""


async def ask_balance(
    aside: Aside,
    balance: Balance,
    key: str | None,
    quotas: tuple[Quota, ...],
    now: datetime,
) -> Statement:
    """Ask for it; BalanceError where there is no answer to go by."""
    headers = {
        name: value.replace("{key}", key or "")
        for name, value in balance.headers.items()
    }
    try:
        status, body = await aside.get(balance.url, headers)
    except OSError as error:
        raise BalanceError(f"its balance cannot be read: {error}") from None
    if status != 200:
        raise BalanceError(f"its balance cannot be read: HTTP {status}")
    return read_balance(balance, body, quotas, now)


def read_balance(
    balance: Balance, body: bytes, quotas: tuple[Quota, ...], now: datetime
) -> Statement:
    """What the reply states; BalanceError where it states nothing."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BalanceError("its balance is not JSON") from None
    limit = number(_at(found, balance.limit))
    remaining = number(_at(found, balance.remaining))
    used = number(_at(found, balance.used))
    if remaining is None and used is not None:
        mine = [quota.limit for quota in quotas if quota.name == balance.quota]
        remaining = max(0, (limit or min(mine)) - used)
    wait = parse_wait(str(_at(found, balance.reset) or ""), now)
    statement = Statement(
        quota=balance.quota,
        limit=limit,
        remaining=remaining,
        resets_at=None if wait is None else now + timedelta(seconds=wait),
        source="balance",
        asked_at=now,
    )
    if not statement.says_something:
        paths = [balance.remaining, balance.used, balance.limit]
        named = " or ".join(path for path in paths if path)
        raise BalanceError(f"its balance has no number at {named}")
    return statement


def _at(found: Any, path: str) -> Any:
    if not path:
        return None
    for key in path.split("."):
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found
