"""What an endpoint states of its own count: in headers, in a refusal, on request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch.core.counts import MOST
from batch.core.model import NamedLimit
from batch.core.quota import Quota, Unit, WindowKind
from batch.core.waits import parse_wait

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,6})?", re.ASCII)
#: As OpenAI and Groq write it: "(RPD): Limit 250".
_BRACKETED = re.compile(
    r"\((?P<what>[RT])P(?P<of>[DM])\):? Limit (?P<limit>\d{1,15})\b"
    r"(?:, Used (?P<used>\d{1,15})\b)?",
    re.IGNORECASE | re.ASCII,
)
#: As Google does: "metric: …_free_tier_requests, limit: 20".
_OF_METRIC = re.compile(
    r"metric: (?P<metric>[\w./-]+), limit: (?P<limit>\d{1,15})\b",
    re.IGNORECASE | re.ASCII,
)
_LIMIT = re.compile(r"\blimit:? (\d{1,15})\b", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an endpoint said of one quota; None where it said nothing."""

    #: The quota's name, and its scope.
    quota: str
    scope: str = ""
    limit: int | None = None
    remaining: int | None = None
    resets_at: datetime | None = None
    #: Where it was said: "headers", "refusal" or "balance".
    source: str
    #: When the call that brought it was reserved; the answer is of now.
    asked_at: datetime

    @property
    def says_something(self) -> bool:
        said = (self.limit, self.remaining, self.resets_at)
        return any(one is not None for one in said)


def in_headers(
    quotas: Sequence[Quota],
    headers: Mapping[str, str],
    asked_at: datetime,
    now: datetime,
) -> list[Statement]:
    """What these headers say of the quotas that name them."""
    found = []
    for quota in quotas:
        signals = quota.signals
        if not signals.names & headers.keys():
            continue
        wait = parse_wait(headers.get(signals.reset, ""), now)
        statement = Statement(
            quota=quota.name,
            scope=quota.scope,
            limit=number(headers.get(signals.limit)),
            remaining=number(headers.get(signals.remaining)),
            resets_at=None if wait is None else now + timedelta(seconds=wait),
            source="headers",
            asked_at=asked_at,
        )
        if statement.says_something:
            found.append(statement)
    return found


def in_refusal(
    quotas: Sequence[Quota],
    named: WindowKind | None,
    message: str,
    asked_at: datetime,
    limits: Sequence[NamedLimit] = (),
) -> list[Statement]:
    """The limits that a refusal states, where it is told whose they are."""
    found = []
    for one in _by_id(limits) or _limits(message):
        if one.limit > MOST or (one.used or 0) > MOST:
            continue
        kind = one.kind or named
        meant = [
            quota
            for quota in quotas
            if kind is not None
            and quota.lasts(kind)
            and (quota.unit is Unit.TOKENS) == one.of_tokens
        ]
        if len(meant) == 1 and one.limit > 0:
            left = None if one.used is None else max(0, one.limit - one.used)
            found.append(
                Statement(
                    quota=meant[0].name,
                    scope=meant[0].scope,
                    limit=one.limit,
                    remaining=left,
                    source="refusal",
                    asked_at=asked_at,
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit that a refusal states."""

    of_tokens: bool
    #: None: it does not say of which window.
    kind: WindowKind | None
    limit: int
    used: int | None = None


def _by_id(limits: Sequence[NamedLimit]) -> list[_Limit]:
    """Google's: "GenerateRequestsPerDayPerProjectPerModel-FreeTier"."""
    kinds = {"perday": WindowKind.DAY, "perminute": WindowKind.MINUTE}
    return [
        _Limit("token" in one.id.lower(), kind, one.limit)
        for one in limits
        for word, kind in kinds.items()
        if word in one.id.lower() and one.limit is not None
    ]


def _limits(message: str) -> list[_Limit]:
    found: list[_Limit] = []
    for one in _BRACKETED.finditer(message):
        kind = WindowKind.DAY if one["of"].upper() == "D" else WindowKind.MINUTE
        used = int(one["used"]) if one["used"] else None
        found.append(_Limit(one["what"].upper() == "T", kind, int(one["limit"]), used))
    for one in _OF_METRIC.finditer(message):
        found.append(_Limit("token" in one["metric"].lower(), None, int(one["limit"])))
    alone = _LIMIT.findall(message)
    if not found and len(alone) == 1 and "token" not in message.lower():
        found.append(_Limit(False, None, int(alone[0])))
    return found


def number(text: object) -> int | None:
    """A count as headers and bodies have it; None for what is none."""
    if isinstance(text, bool):
        return None
    if isinstance(text, str) and _NUMBER.fullmatch(text.strip()):
        text = float(text)
    if not isinstance(text, int | float):
        return None
    return int(text) if 0 <= text <= MOST else None
