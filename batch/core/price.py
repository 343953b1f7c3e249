"""What a call costs: an estimate before it, the truth after, and what is learned.

One credit a call unless the profile says otherwise. Sizes are characters, or tokens
where the endpoint counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batch.core.counts import believed
from batch.core.quota import Unit
from batch.core.standing import Standing

#: What is expected of an answer of which nothing is known yet.
FIRST_CHARACTERS = 400.0
FIRST_TOKENS = 400.0
#: The weight of the newest call, as TCP has it for its round trips.
NEWEST = 1 / 8

_MOST_TOKENS = ("max_completion_tokens", "max_tokens", "num_predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Credits of a call: so many, plus one for every so many characters or tokens.

    0 for a size: that part is free.
    """

    call: int = 1
    #: Characters of the answer that one credit pays for.
    answer_chars: int = 0
    #: Characters of the prompt that one credit pays for, beyond those that are free.
    prompt_chars: int = 0
    prompt_free: int = 0
    #: Tokens of prompt and answer that one credit pays for.
    tokens: int = 0

    @property
    def is_flat(self) -> bool:
        """Whether every call costs the same."""
        return not (self.answer_chars or self.prompt_chars or self.tokens)


ONE_CREDIT_A_CALL = Price()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call takes of a quota, by the quota's unit."""

    calls: int = 1
    credits: int = 1
    tokens: int = 0

    def less(self, other: Cost) -> Cost:
        """The difference, which may be negative."""
        return Cost(
            self.calls - other.calls,
            self.credits - other.credits,
            self.tokens - other.tokens,
        )

    def times(self, number: int) -> Cost:
        """What so many such calls take."""
        return Cost(self.calls * number, self.credits * number, self.tokens * number)

    def of(self, unit: Unit) -> int:
        match unit:
            case Unit.CALLS:
                return self.calls
            case Unit.TOKENS:
                return self.tokens
            case Unit.CREDITS:
                return self.credits


ONE_CALL = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What answers of a model were like so far: moving means and deviations."""

    calls: int = 0
    characters: float = FIRST_CHARACTERS
    characters_off: float = 0.0
    tokens: float = FIRST_TOKENS
    tokens_off: float = 0.0
    #: By how much estimates were wrong, on average: credits, and tokens.
    error: float = 0.0
    tokens_error: float = 0.0

    def after(
        self, estimate: Cost, cost: Cost, characters: int, tokens: int
    ) -> Learned:
        """With one more answer of this size taken into account."""
        first = self.calls == 0
        weight = 1.0 if first else NEWEST
        chars_by = characters - self.characters
        tokens_by = tokens - self.tokens
        return Learned(
            calls=self.calls + 1,
            characters=self.characters + weight * chars_by,
            characters_off=_off(self.characters_off, chars_by, characters, first),
            tokens=self.tokens + weight * tokens_by,
            tokens_off=_off(self.tokens_off, tokens_by, tokens, first),
            error=self.error
            + weight * (abs(cost.credits - estimate.credits) - self.error),
            tokens_error=self.tokens_error
            + weight * (abs(cost.tokens - estimate.tokens) - self.tokens_error),
        )


def _off(off: float, by: float, size: int, first: bool) -> float:
    return size / 2 if first else off + NEWEST * (abs(by) - off)


NOTHING_LEARNED = Learned()


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that is sent, as one text."""
    return "".join(text for one in messages for text in _texts(one.get("content")))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        parts = [one.get("text") for one in content if isinstance(one, Mapping)]
        return [part for part in parts if isinstance(part, str)]
    return []


def guessed_tokens(text: str) -> int:
    """About how many tokens a text has: a character beyond Latin is one, else four."""
    wide = sum(1 for character in text if ord(character) >= 0x2E80)
    return wide + -(-(len(text) - wide) // 4)


def estimate(
    price: Price,
    messages: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],
    learned: Learned,
) -> Cost:
    """What a call is expected to cost: its prompt, and an answer on the long side."""
    prompt = prompt_text(messages)
    tokens = learned.tokens + learned.tokens_off
    characters = learned.characters + learned.characters_off
    most = _most_tokens(params)
    if most is not None:
        tokens = min(tokens, most)
    return _cost(
        price,
        len(prompt),
        round(characters),
        guessed_tokens(prompt) + round(tokens),
    )


def average(
    price: Price,
    messages: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],
    learned: Learned,
) -> Cost:
    """Estimate a call without the margin for a long answer: the mean of many."""
    mean = replace(learned, characters_off=0.0, tokens_off=0.0)
    return estimate(price, messages, params, mean)


def reservation(cost: Cost, bound: Iterable[Standing], keep: int) -> Cost:
    """Bound an estimate by these windows: never more than a whole one has."""
    most = {Unit.CREDITS: cost.credits, Unit.TOKENS: cost.tokens}
    for one in bound:
        unit = one.quota.unit
        if unit in most:
            most[unit] = min(most[unit], one.less(keep))
    return Cost(cost.calls, max(1, most[Unit.CREDITS]), max(0, most[Unit.TOKENS]))


def actual(
    price: Price,
    messages: Sequence[Mapping[str, Any]],
    text: str,
    usage: Mapping[str, Any] | None,
) -> Cost:
    """What a call cost that was answered so."""
    prompt = prompt_text(messages)
    total = believed((usage or {}).get("total_tokens"))
    if total is None:
        total = guessed_tokens(prompt) + guessed_tokens(text)
    return _cost(price, len(prompt), len(text), total)


def answer_tokens(text: str, usage: Mapping[str, Any] | None) -> int:
    """The tokens of an answer, as stated or as guessed."""
    stated = believed((usage or {}).get("completion_tokens"))
    return guessed_tokens(text) if stated is None else stated


def _cost(price: Price, prompt: int, answer: int, tokens: int) -> Cost:
    credits = price.call
    if price.answer_chars:
        credits += -(-answer // price.answer_chars)
    if price.prompt_chars:
        credits += -(-max(0, prompt - price.prompt_free) // price.prompt_chars)
    if price.tokens:
        credits += -(-tokens // price.tokens)
    return Cost(1, max(1, credits), tokens)


def _most_tokens(params: Mapping[str, Any]) -> int | None:
    for name in _MOST_TOKENS:
        value = params.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
