"""What becomes of calls: the weather between this machine and the endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from batch.core.model import Failure

#: Neither reaches the endpoint: of the one it is proven, of the other it is not.
UNSENT = "unsent"
LOST = "lost"
ANSWER = "answer"
CUT = "cut"
#: There is no such model.
GONE = "gone"

_PLAIN = {
    UNSENT: Failure(code="dns", message="cannot resolve", sent=False),
    LOST: Failure(code="timeout", message="silence", sent=True),
    "late": Failure(code="timeout", message="silence", sent=True),
    "dropped": Failure(code="dropped", message="closed without a reply", sent=True),
    "empty": Failure(code="empty", message="nothing in it", sent=True, status=200),
    "html": Failure(code="html", message="a page", sent=True, status=200),
    "not text": Failure(code="not_text", message="bytes", sent=True),
    "rejected": Failure(code="http_400", message="HTTP 400", sent=True, status=400),
    "filtered": Failure(code="content_filter", message="no", sent=True, status=200),
}
_WITH_STATUS = {
    "503": 503,
    "500": 500,
    "429": 429,
    "quota": 429,
    "key": 401,
    GONE: 404,
}
#: Everything that a call may come to, but for its answer.
TROUBLES = (*_PLAIN, *_WITH_STATUS, CUT)
#: Those that only the next attempt, or the next day, can be better than.
PASSING = (UNSENT, LOST, "late", "dropped", "empty", "503", "500", "429", CUT)
#: Those that a prompt may come to with each call, whatever the weather.
NEVER_ANSWERED = ("empty", "html", "dropped", "500", "rejected", "filtered", CUT)

#: What an endpoint says that has given away all that it gives away.
USED_UP = "HTTP 429: daily limit reached"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call."""

    name: str
    #: Seconds until it is written: until then nothing can have arrived.
    connects: float
    #: Seconds from then until it has ended.
    lasts: float
    #: When it arrives, as a part of these.
    way: float
    #: What the endpoint says of when to come back, if it does.
    wait: int | None


@dataclass(kw_only=True)
class Weather:
    """How likely what is."""

    chance: Random
    #: By the name of a trouble; an answer has 1.
    troubles: Mapping[str, float] = field(default_factory=dict)
    #: By prompt, what it comes to that is never answered.
    bad: Mapping[str, str] = field(default_factory=dict)
    #: From when to when, in seconds, everything comes to the same.
    storms: Sequence[tuple[float, float, str]] = ()
    #: The longest that a call takes, seconds.
    longest: float = 2.0
    #: How often a connection takes its time.
    hesitant: float = 0.0
    is_calm: bool = False

    def fate_of(self, prompt: str, at: float) -> Fate:
        """Draw the fate of a call; of a bad prompt none is an answer."""
        fate, trouble = self.fate(at), self.trouble(prompt)
        return replace(fate, name=trouble) if trouble and fate.name == ANSWER else fate

    def trouble(self, prompt: str) -> str | None:
        """Look up what a prompt comes to, also one that was submitted again."""
        return self.bad.get(prompt.partition(" ")[0])

    def fate(self, at: float) -> Fate:
        chance = self.chance
        name = ANSWER if self.is_calm else self._name(at)
        hesitates = not self.is_calm and chance.random() < self.hesitant
        return Fate(
            name=name,
            connects=chance.uniform(0, 10) if hesitates else 0.0,
            lasts=max(0.05, self.longest * chance.random() ** 2),
            way=chance.choice([0.0, 1.0, chance.random()]),
            wait=chance.choice([None, None, 3, 30, 1000, 30_000]),
        )

    def _name(self, at: float) -> str:
        for begins, ends, name in self.storms:
            if begins <= at < ends:
                return name
        names = [ANSWER, *self.troubles]
        return self.chance.choices(names, [1.0, *self.troubles.values()])[0]


def failure(fate: Fate, text: str, headers: Mapping[str, str]) -> Failure:
    """What the product is told, where this is no answer."""
    if fate.name in _PLAIN:
        return _PLAIN[fate.name]
    if fate.name == CUT:
        half = text[: len(text) // 2]
        return Failure(code="cut", message="cut off", sent=True, partial=half)
    if fate.name == "quota":
        return refusal(fate.wait, headers)
    status = _WITH_STATUS[fate.name]
    asked = {"retry-after": str(min(fate.wait, 30))} if fate.wait else {}
    return Failure(
        code=f"http_{status}",
        message=f"HTTP {status}",
        sent=True,
        status=status,
        headers={**headers, **asked},
    )


def refusal(wait: int | None, headers: Mapping[str, str]) -> Failure:
    """Nothing is left, says the endpoint."""
    asked = {"retry-after": str(wait)} if wait else {}
    return Failure(
        code="http_429",
        message=USED_UP,
        sent=True,
        status=429,
        headers={**headers, **asked},
    )
