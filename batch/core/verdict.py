"""What a failure means for the request, the account and the run.

One pure function from facts to a Verdict. The evidence is weighed in this order: the
endpoint's own error code, the limit that its words name, its status, its wait.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from batch.core.model import Failure
from batch.core.quota import WindowKind
from batch.core.waits import stated_wait


class VerdictKind(StrEnum):
    """What to do about a failure."""

    RETRY = "retry"  # the same request may succeed later
    FAIL = "fail"  # this request never will
    STOP = "stop"  # no request of this account will
    EXHAUSTED = "exhausted"  # the quota is gone until its reset


class StopCause(StrEnum):
    """Why no request of this account can succeed."""

    KEY = "key"  # the key was refused
    CONFIGURATION = "configuration"  # a wrong URL, model, certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A provider's own error codes, as its profile lists them."""

    exhausted: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a failure means, and until when."""

    kind: VerdictKind
    #: Seconds that the endpoint asks to wait (RETRY).
    wait: float | None = None
    #: When the endpoint says that the quota is back (EXHAUSTED); None: at its reset.
    resets_at: datetime | None = None
    cause: StopCause | None = None
    #: Whether the endpoint has more calls in flight than it can take.
    overload: bool = False
    #: The kind of window whose limit the refusal names, if it names one (EXHAUSTED).
    named: WindowKind | None = None
    #: The evidence that decided, for a person.
    because: str = ""


#: A stated wait beyond this is a quota's, not a pause.
LONGEST_PAUSE = 300.0

_DAILY = r"per.?day|daily|\bRPD\b|\bTPD\b|每日|今日|当日|每天"
_MONTHLY = r"per.?month|monthly|每月|本月|/ ?month"
_GONE = r"额度(?:不足|已用|用完|用尽)|insufficient[ _]credits"
_DAY = re.compile(_DAILY, re.IGNORECASE)
_MONTH = re.compile(_MONTHLY, re.IGNORECASE)
#: What names a limit that no pause helps against.
_LONG = re.compile(f"{_DAILY}|{_MONTHLY}|{_GONE}", re.IGNORECASE)
_MAY_BE_QUOTA = frozenset({402, 403, 429})
_OVERLOAD = frozenset({429, 503, 529})
_CONFIGURATION = frozenset({404, 405, 410})
_REJECTED = frozenset({400, 406, 409, 411, 413, 414, 415, 422, 431, 451})
_TRANSIENT = frozenset({408, 409, 425})


def judge(failure: Failure, rules: Rules, now: datetime) -> Verdict:
    """The verdict on one failed attempt."""
    code = failure.endpoint_code
    if code is not None:
        if code in rules.exhausted:
            return _exhausted(failure, now, f"its code {code} says so")
        if code in rules.refused:
            return _stop(StopCause.KEY, f"its code {code} says so")
        if code in rules.rejected:
            return _fail(f"its code {code} says so")
    if failure.code in ("redirect", "certificate", "not_a_url", "encoded"):
        return _stop(StopCause.CONFIGURATION, "it would be so for every request")
    if failure.code == "unsendable":
        return _fail("it can never be sent")
    if failure.code in ("content_filter", "length", "refusal"):
        return _fail("the same question would end the same way")
    return _by_status(failure, failure.status or 0, now)


def _by_status(failure: Failure, status: int, now: datetime) -> Verdict:
    speaks_of_quotas = failure.code == "endpoint_error" or status in _MAY_BE_QUOTA
    if speaks_of_quotas and (found := _LONG.search(failure.message)):
        return _exhausted(failure, now, f"it names the limit: {found[0]!r}")
    by_status = f"its status is {status}"
    if status in (401, 403):
        return _stop(StopCause.KEY, by_status)
    if status == 402:
        return _exhausted(failure, now, by_status)
    if status in _CONFIGURATION:
        return _stop(StopCause.CONFIGURATION, by_status)
    if status in _REJECTED and status not in _TRANSIENT:
        return _fail(by_status)
    wait = stated_wait(failure.headers, failure.message, now)
    if wait is not None and wait > LONGEST_PAUSE:
        if status == 429:
            return _exhausted(failure, now, f"its wait of {wait:,.0f} s is a quota's")
        wait = LONGEST_PAUSE
    return Verdict(
        kind=VerdictKind.RETRY,
        wait=wait,
        overload=status in _OVERLOAD,
        because="nothing says that it would fail again",
    )


def _stop(cause: StopCause, because: str) -> Verdict:
    return Verdict(kind=VerdictKind.STOP, cause=cause, because=because)


def _fail(because: str) -> Verdict:
    return Verdict(kind=VerdictKind.FAIL, because=because)


def _exhausted(failure: Failure, now: datetime, because: str) -> Verdict:
    wait = stated_wait(failure.headers, failure.message, now)
    # Seconds of wait beside a day's limit are not believed: several providers send
    # them with every refusal.
    believed = wait is not None and wait > LONGEST_PAUSE
    if wait is not None and not believed:
        because += f"; its wait of {wait:,.0f} s is not believed beside that"
    named = None
    if _MONTH.search(failure.message):
        named = WindowKind.MONTH
    elif _DAY.search(failure.message):
        named = WindowKind.DAY
    return Verdict(
        kind=VerdictKind.EXHAUSTED,
        resets_at=now + timedelta(seconds=wait) if believed and wait else None,
        named=named,
        because=because,
    )
