"""Which limit a refusal names: of which window, and whether of tokens.

Ids are believed before words: "PerDay" in Google's quotaId, "(TPD)" in brackets,
"free-models-per-min"; what is merely spoken of comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batch.core.model import Failure
from batch.core.quota import WindowKind

_MONTH = r"per.?month|monthly|每月|本月|/ ?month"
_WEEK = r"per.?week|weekly|每周|本周"
_DAY = (
    r"per.?day|daily|\b[RT]PD\b|每日|今日|当日|每天|\b(?:calls|requests|tokens) ?/ ?day"
)
_HOUR = r"per.?hour|hourly|\b[RT]PH\b"
_MINUTE = r"per.?minute|per.?min\b|\b[RT]PM\b|每分钟|/ ?min(?:ute)?\b"
_GONE = r"额度(?:不足|已用|用完|用尽)|insufficient[ _]credits"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


#: The longest first: no pause helps against it. Weeks and hours have no kind of
#: window that is called so.
_WINDOWS: tuple[tuple[re.Pattern[str], WindowKind | None], ...] = (
    (_compiled(_MONTH), WindowKind.MONTH),
    (_compiled(_WEEK), None),
    (_compiled(_DAY), WindowKind.DAY),
    (_compiled(_HOUR), None),
    (_compiled(_GONE), None),
    (_compiled(_MINUTE), WindowKind.MINUTE),
)
#: As OpenAI and Groq write it: "tokens per day (TPD): Limit 200000".
_BRACKETED = re.compile(r"\(([RT]P[MHD])\)")
#: As OpenRouter does: "free-models-per-day-high-balance".
_HYPHENED = re.compile(r"(?<=\w)-per-(?:min|minute|hour|day|week|month)\b")
_TOKENS = _compiled(r"\bTP[MHD]\b|\btokens? ?(?:per|/)|\btokens? limit")
_LIMIT_OF_NOUGHT = re.compile(r"\blimit:? 0(?![.,]?\d)", re.IGNORECASE)
#: Codes and kinds of errors of a limit, and of another cause.
_CODE_OF_LIMIT = _compiled(
    r"limit|quota|exhausted|too.?many|throttl|insufficient|credit|balance|billing"
    r"|^(?:402|429)$"
)
_CODE_OF_OTHER = _compiled(
    r"moderat|content.?(?:filter|policy|violation)|safety|blocked|sensitive|flagged"
    r"|invalid.?(?:request|prompt|input|argument|param)|bad.?request|validation"
    r"|context.?length"
)
#: Words that tell of a limit without naming its period; only the first _LOOKED_AT
#: characters are searched.
_OF_LIMIT = _compiled(
    r"limit|quota|exceed|exhaust|credits?\b|allowance|allocation|used up|too many"
    r"|额度|次数|上限|限额|限制|限流|配额|用完|用尽|已用|超出|超过|超限|余额|频率|频繁|不足"
)
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Named:
    """A limit that a refusal names."""

    #: The words that do.
    words: str
    #: What people call its window; None: it has no such name, or is not told.
    kind: WindowKind | None
    #: Whether it is of tokens; None: it does not say.
    tokens: bool | None

    @property
    def is_short(self) -> bool:
        """Whether a pause helps."""
        return self.kind is WindowKind.MINUTE


def named(failure: Failure) -> Named | None:
    """The limit that this refusal names, if it names one."""
    ids = " ".join(one.id for one in failure.limits)
    found = _in(ids, tokens="token" in ids.lower()) if ids else None
    if found is not None:
        return found
    message = failure.message
    for pattern in (_BRACKETED, _HYPHENED):
        outright = " ".join(one[0] for one in pattern.finditer(message))
        tokens = "TP" in outright if pattern is _BRACKETED else None
        found = _in(outright, tokens=tokens)
        if found is not None:
            return found
    return _in(message, tokens=True if _TOKENS.search(message) else None)


def is_spoken_of(failure: Failure, *, states_wait: bool) -> bool:
    """Tell whether anything but the name of a period shows that a limit was met.

    Its code decides, if that says of what kind the error is.
    """
    codes = [failure.endpoint_code or "", failure.endpoint_type or ""]
    if failure.limits or any(_CODE_OF_LIMIT.search(code) for code in codes):
        return True
    if any(_CODE_OF_OTHER.search(code) for code in codes):
        return False
    return states_wait or _OF_LIMIT.search(failure.message[:_LOOKED_AT]) is not None


def has_none_at_all(failure: Failure) -> bool:
    """Whether it states a limit of 0: what was asked for is not on offer."""
    ids = any(one.limit == 0 for one in failure.limits)
    return ids or _LIMIT_OF_NOUGHT.search(failure.message) is not None


def _in(text: str, *, tokens: bool | None) -> Named | None:
    for pattern, kind in _WINDOWS:
        if found := pattern.search(text):
            return Named(found[0], kind, tokens)
    return None
