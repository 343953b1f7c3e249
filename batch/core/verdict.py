"""What a failure means for the request, the account and the run.

One pure function from facts to a Verdict. The evidence is weighed in this order: the
endpoint's own error code, the limit that it names, its status, its wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from batch.core import limits, model_access
from batch.core.limits import Named
from batch.core.model import PROXY_DENIED, Failure
from batch.core.quota import WindowKind
from batch.core.statements import number
from batch.core.waits import LONGEST, is_beyond_belief, stated_wait, stated_waits


class VerdictKind(StrEnum):
    """What to do about a failure."""

    RETRY = "retry"  # the same request may succeed later
    FAIL = "fail"  # this request never will
    STOP = "stop"  # no request of its scope will: the account's, or a model's
    EXHAUSTED = "exhausted"  # the quota is gone until its reset


class StopCause(StrEnum):
    """A cause for which no request of an account, or of a model, can succeed."""

    KEY = "key"  # the key was refused
    CONFIGURATION = "configuration"  # a wrong URL, model, certificate
    PLAN = "plan"  # not on the plan, or not paid for: no wait helps
    PROXY = "proxy"  # the proxy on the way wants another login


class Scope(StrEnum):
    """The requests that a verdict holds for."""

    REQUEST = "request"
    MODEL = "model"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A provider's own error codes, or kinds of error, as its profile lists them."""

    #: The quota is gone until its reset.
    exhausted: frozenset[str] = frozenset()
    #: The key is wrong.
    refused: frozenset[str] = frozenset()
    #: This request will never be answered.
    rejected: frozenset[str] = frozenset()
    #: The plan does not have it, or money is owed: no wait helps.
    barred: frozenset[str] = frozenset()
    #: It passes, whatever its status says.
    transient: frozenset[str] = frozenset()
    #: The same, told by words of the message.
    transient_words: frozenset[str] = frozenset()
    #: The headers that state a limit, lower case.
    limit_headers: frozenset[str] = frozenset()
    #: Of times that it states without one.
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a failure means, and until when."""

    kind: VerdictKind
    #: Seconds that the endpoint asks to wait (RETRY).
    wait: float | None = None
    #: When the endpoint says that the quota is back (EXHAUSTED); None: at its reset.
    resets_at: datetime | None = None
    cause: StopCause | None = None
    #: The requests that a STOP holds for; MODEL: other models may still be answered.
    scope: Scope = Scope.REQUEST
    #: Whether the endpoint has more calls in flight than it can take.
    overload: bool = False
    #: The kind of window whose limit the refusal names, if it names one.
    named: WindowKind | None = None
    #: Whether that limit is of tokens; None: it does not say.
    tokens: bool | None = None
    #: Seconds that it asks to wait beside the limit that it names (EXHAUSTED): to be
    #: believed only where credits come back one by one.
    pause: float | None = None
    #: The evidence that decided, for a person.
    because: str = ""

    @property
    def is_busy(self) -> bool:
        """Tell whether the endpoint merely asks for a short wait.

        That says nothing of the request, nor that the service is in trouble.
        """
        states_wait = self.named is not None or (
            self.overload and self.wait is not None
        )
        return self.kind is VerdictKind.RETRY and states_wait

    @property
    def is_unconfirmed(self) -> bool:
        """Tell whether it would stop the run, or set its model aside.

        If another request were refused alike.
        """
        return self.kind is VerdictKind.RETRY and self.cause is not None


#: A stated wait beyond this is a quota's, not a pause.
LONGEST_PAUSE = 300.0

_MAY_BE_QUOTA = frozenset({402, 403, 429})
#: A reply with one of these is about a limit where its message names a period.
_LIMITED = frozenset({402, 429, 503})
#: A reply with one of these is about the model where its message says so.
_MAY_BE_MODEL = frozenset({400, 401, 403})
_OVERLOAD = frozenset({429, 503, 529})
_CONFIGURATION = frozenset({405, 407, 410})
_REJECTED = frozenset({400, 406, 409, 411, 413, 414, 415, 422, 431, 451})
_TRANSIENT = frozenset({408, 409, 425})


def judge(failure: Failure, rules: Rules, now: datetime) -> Verdict:
    """The verdict on one failed attempt."""
    by_code = _by_code(failure, rules, now)
    if by_code is not None:
        return by_code
    if failure.code == PROXY_DENIED:
        return _stop(StopCause.PROXY, "the proxy would refuse every request")
    if failure.code in ("redirect", "certificate", "not_a_url", "encoded"):
        return _stop(StopCause.CONFIGURATION, "it would be so for every request")
    if failure.code == "unsendable":
        return _fail("it can never be sent")
    if failure.code in ("content_filter", "length", "refusal"):
        return _fail("the same question would end the same way")
    return _by_status(failure, rules, failure.status or 0, now)


def _by_code(failure: Failure, rules: Rules, now: datetime) -> Verdict | None:
    for code in (failure.endpoint_code, failure.endpoint_type):
        if code is None:
            continue
        because = f"its code {code} says so"
        if code in rules.exhausted:
            return _exhausted(failure, rules, limits.named(failure), now, because)
        if code in rules.refused:
            return _stop(StopCause.KEY, because)
        if code in rules.barred:
            return _stop(StopCause.PLAN, because)
        if code in rules.rejected:
            return _fail(because)
        if code in rules.transient:
            return _retry(failure, rules, now, because)
    about_model = model_access.code_of(failure)
    if about_model is not None:
        because = f"its code {about_model} says so"
        return _stop(StopCause.CONFIGURATION, because, Scope.MODEL)
    found = [word for word in rules.transient_words if word in failure.message]
    if found:
        return _retry(failure, rules, now, f"{found[0]!r} passes")
    return None


def _by_status(failure: Failure, rules: Rules, status: int, now: datetime) -> Verdict:
    named = None
    if failure.code == "endpoint_error" or status in _MAY_BE_QUOTA:
        if _is_off_plan(failure, rules):
            because = "it states a limit of 0"
            return _stop(StopCause.PLAN, because, Scope.MODEL)
        named = limits.named(failure)
        if status not in _LIMITED and not _speaks_of_limit(failure, rules, now):
            # The period may stand in a prompt that the message quotes.
            named = None
        # Of a 402 only words for a period tell that something comes back.
        is_limit = named is not None and (status != 402 or named.kind is not None)
        if named is not None and is_limit and not named.is_short:
            because = f"it names the limit: {named.words!r}"
            return _exhausted(failure, rules, named, now, because)
    by_status = f"its status is {status}"
    if status == 404 or (
        status in _MAY_BE_MODEL and model_access.is_spoken_of(failure)
    ):
        return _stop(StopCause.CONFIGURATION, by_status, Scope.MODEL)
    if status in (401, 403):
        return _stop(StopCause.KEY, by_status)
    if status == 402:
        owed = _exhausted(failure, rules, named, now, by_status)
        if owed.resets_at:
            # A wait that it states is a quota's; else nothing comes back by itself.
            return owed
        # Others may cost nothing: money is asked for models, not for the key.
        return _stop(StopCause.PLAN, by_status, Scope.MODEL)
    if status in _CONFIGURATION:
        return _stop(StopCause.CONFIGURATION, by_status)
    if status in _REJECTED and status not in _TRANSIENT:
        return _fail(by_status)
    if named is not None:
        return _retry(
            failure, rules, now, f"it names a short limit: {named.words!r}", named
        )
    if status == 429 and is_beyond_belief(failure.headers, now):
        # The time is not believed, but the quota is taken for exhausted.
        because = f"it asks to wait for more than {LONGEST / 86400:.0f} days"
        return Verdict(kind=VerdictKind.EXHAUSTED, because=because)
    wait = stated_wait(failure.headers, failure.message, now, rules.zone)
    if wait is not None and wait > LONGEST_PAUSE and status == 429:
        because = f"its wait of {wait:,.0f} s is a quota's"
        return _exhausted(failure, rules, None, now, because)
    return _retry(failure, rules, now, "nothing says that it would fail again")


def _is_off_plan(failure: Failure, rules: Rules) -> bool:
    stated = (number(failure.headers.get(name)) for name in rules.limit_headers)
    return limits.has_none_at_all(failure) or 0 in stated


def _speaks_of_limit(failure: Failure, rules: Rules, now: datetime) -> bool:
    # Many send the other headers with every reply.
    headers = {
        name: value
        for name, value in failure.headers.items()
        if name.startswith("retry-after")
    }
    waits = stated_waits(headers, failure.message, now, rules.zone)
    return limits.is_spoken_of(failure, states_wait=bool(waits))


def _stop(cause: StopCause, because: str, scope: Scope = Scope.ACCOUNT) -> Verdict:
    return Verdict(kind=VerdictKind.STOP, cause=cause, scope=scope, because=because)


def _fail(because: str) -> Verdict:
    return Verdict(kind=VerdictKind.FAIL, because=because)


def _retry(
    failure: Failure,
    rules: Rules,
    now: datetime,
    because: str,
    named: Named | None = None,
) -> Verdict:
    waits = stated_waits(failure.headers, failure.message, now, rules.zone)
    return Verdict(
        kind=VerdictKind.RETRY,
        wait=min(waits[0], LONGEST_PAUSE) if waits else None,
        overload=(failure.status or 0) in _OVERLOAD,
        named=named.kind if named else None,
        tokens=named.tokens if named else None,
        because=because,
    )


def _exhausted(
    failure: Failure,
    rules: Rules,
    named: Named | None,
    now: datetime,
    because: str,
) -> Verdict:
    waits = stated_waits(failure.headers, failure.message, now, rules.zone)
    # Seconds of wait beside a day's limit are not believed: several providers send
    # them with every refusal. Of several waits the longest is the quota's.
    wait = max(waits, default=None)
    believed = wait is not None and wait > LONGEST_PAUSE
    if wait is not None and not believed:
        because += f"; its wait of {wait:,.0f} s is not believed beside that"
    return Verdict(
        kind=VerdictKind.EXHAUSTED,
        resets_at=now + timedelta(seconds=wait) if believed and wait else None,
        named=named.kind if named else None,
        tokens=named.tokens if named else None,
        pause=None if believed else wait,
        because=because,
    )
