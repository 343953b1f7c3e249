"""Finish reasons: which of them mean a whole answer, and which a broken one.

The words of OpenAI, Azure, Anthropic, Bedrock, Cohere, DeepSeek, Gemini, Mistral, vLLM
and Zhipu, and of the gateways that pass them on in spellings of their own.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache


class Ending(Enum):
    """The meaning of a finish reason."""

    #: No reason yet: a null that was made a text, or the state of a call under way.
    OPEN = auto()
    WHOLE = auto()
    #: The limit of tokens cut the answer.
    LENGTH = auto()
    #: The endpoint withheld the answer for its content.
    FILTERED = auto()
    #: The endpoint or its caller gave up.
    BROKEN = auto()
    #: A word that is not known: believed where the reply itself has its end.
    UNKNOWN = auto()


_BY_NAME = (
    (
        Ending.OPEN,
        "null none undefined nil unspecified in_progress pending queued running "
        "not_finished not_complete not_completed",
    ),
    (
        Ending.WHOLE,
        "stop stopped stop_sequence stop_token end_turn eos eos_token eot end_of_text "
        "complete completed done finished success tool_calls tool_call tool_use "
        "function_call no_error eos_token_id end_token stop_token_id stop_token_ids "
        "end_of_sequence",
    ),
    (Ending.LENGTH, "limit limit_reached max_output cut_off"),
)
_NAMES = {name: one for one, names in _BY_NAME for name in names.split()}
#: In this order: "error_toxic" is a filter's word, "error_limit" an error's.
_BY_WORDS = (
    (
        Ending.FILTERED,
        "filter filtered safety sensitive recitation blocklist blocked prohibited spii "
        "moderation guardrail toxic refusal harmful unsafe policy violation",
    ),
    (
        Ending.BROKEN,
        "error errored fail failed failure abort aborted cancel canceled cancelled "
        "cancellation timeout timedout timed time deadline expired interrupted "
        "disconnect disconnected network connection insufficient overload overloaded "
        "unavailable exception crash crashed killed terminated preempted malformed "
        "unexpected incomplete partial truncated pause rate quota capacity",
    ),
    # "eos_tokens", "stop_token_reached": before the tokens that cut.
    (Ending.WHOLE, "stop stopped eos eot end"),
    (Ending.LENGTH, "length tokens token context window"),
)
_WORDS = tuple((one, frozenset(words.split())) for one, words in _BY_WORDS)
#: The words of "MAX_TOKENS", "maxTokens" and "max-tokens".
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_LOOKED_AT = 200


def ending(reason: str) -> Ending:
    """Tell the meaning of a finish reason, in any spelling."""
    return _ending(reason[:_LOOKED_AT])


@lru_cache(maxsize=256)
def _ending(reason: str) -> Ending:
    if not reason.strip():
        return Ending.OPEN
    words = [word.lower() for word in _WORD.findall(reason)]
    if words[:2] == ["finish", "reason"]:
        # The enumerations of Google's protocol buffers.
        words = words[2:]
    if (named := _NAMES.get("_".join(words))) is not None:
        return named
    found = frozenset(words)
    return next((one for one, known in _WORDS if found & known), Ending.UNKNOWN)
