"""Most chunks of a stream are alike, but for the piece of text that each brings.

What they have in common is read once. The others are read by their text alone, where
they are the same to the letter before it and behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

#: What most chunks consist of, which bring a piece of the text and nothing else.
_USUAL = frozenset(
    ("id", "object", "created", "model", "choices", "system_fingerprint", "usage")
)
_USUAL_CHOICE = frozenset(("index", "delta", "finish_reason", "logprobs"))
_USUAL_DELTA = frozenset(("role", "content"))
#: What stands before the piece, and what may stand in its place to see where it is.
_NAME = '"content":'
_PROBE = "a piece that no model has said"
#: Where every chunk differs from the others, there is nothing to learn.
TRIES = 3


class Mould:
    """The chunk that others are cast like; nothing, until it has seen one."""

    def __init__(self) -> None:
        self._before = self._behind = ""
        self._least = 0
        self._tries = TRIES

    def piece(self, data: str) -> str | None:
        """The piece of a chunk that is cast like it; None: it is not."""
        if (
            not self._least
            or len(data) < self._least
            or not data.startswith(self._before)
            or not data.endswith(self._behind)
        ):
            return None
        written = data[len(self._before) : len(data) - len(self._behind)]
        try:
            found = orjson.loads(written)
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, str) and found else None

    def take(self, data: str, body: Mapping[str, Any]) -> None:
        """Learn from a chunk, and what it was read as."""
        piece = usual_piece(body) if self._tries else None
        if piece is None:
            return
        self._tries -= 1
        try:
            written = f"{_NAME}{orjson.dumps(piece).decode()}"
        except TypeError:
            # Half a character.
            return
        before, found, behind = data.partition(written)
        probe = f'{before}{_NAME}"{_PROBE}"{behind}'
        # It may stand elsewhere too, such as among the probabilities.
        if found and usual_piece(orjson.loads(probe)) == _PROBE:
            self._before, self._behind = before + _NAME, behind
            self._least = len(self._before) + len(behind) + 2


def usual_piece(body: Mapping[str, Any]) -> str | None:
    """The text that a chunk brings, where it brings nothing else; None: look closer."""
    choice = usual_choice(body)
    if choice is None or choice.get("finish_reason") is not None:
        return None
    content = choice["delta"].get("content")
    return content if isinstance(content, str) and content else None


def is_usual_end(body: Mapping[str, Any]) -> bool:
    """Whether a chunk says that the answer is whole, and nothing else."""
    choice = usual_choice(body)
    return (
        choice is not None
        and not choice["delta"]
        and choice.get("finish_reason") == "stop"
    )


def usual_choice(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The choice of a chunk that has one, and no more than most have beside it."""
    choices = body.get("choices")
    if (
        not isinstance(choices, list)
        or len(choices) != 1
        or not body.keys() <= _USUAL
        or body.get("object") != "chat.completion.chunk"
        or body.get("usage")
    ):
        return None
    (choice,) = choices
    if (
        not isinstance(choice, dict)
        or not choice.keys() <= _USUAL_CHOICE
        or choice.get("index") != 0
    ):
        return None
    delta = choice.get("delta")
    usual = isinstance(delta, dict) and delta.keys() <= _USUAL_DELTA
    return choice if usual else None
