"""Most chunks of a stream are alike, but for the piece of text that each brings.

What they have in common is read once, and holds for the replies that follow. The others
are read by their text alone, where they are the same to the letter before the piece and
behind it; what names a reply and its time stands at the beginning, with most servers,
and may be another each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

#: What most chunks consist of, which bring a piece of the text and nothing else.
_USUAL = frozenset(
    ("id", "object", "created", "model", "choices", "system_fingerprint", "usage")
)
_USUAL_CHOICE = frozenset(("index", "delta", "finish_reason", "logprobs"))
_USUAL_DELTA = frozenset(("role", "content"))
#: A reply's name and time, as its chunks begin: they say nothing of what follows them.
_OWN = re.compile(
    r'\{"id":"[^"\\\x00-\x1f]*","object":"chat\.completion\.chunk",'
    r'"created":(?:0|[1-9][0-9]{0,14}),'
)
#: What stands before the piece, and what may stand in its place to see where it is.
_NAME = '"content":'
_PROBE = "a piece that no model has said"
#: In a reply where every chunk differs from the others, there is nothing to learn.
TRIES = 3
#: What is remembered: chunks with a piece, those that end and others; chunks without;
#: of how many characters.
MOULDS, BARE, LONGEST = 4, 16, 2000


#: What a chunk of the usual kind says, and nothing else is in it: the model, a piece of
#: the answer's text, which may be empty, and whether the answer is whole with it.
Usual = tuple[str, str, bool]


class Moulds:
    """What the chunks of one model are cast in, as far as they were seen."""

    def __init__(self) -> None:
        #: What stands before the piece, what behind it, the model, whether it ends.
        #: Those that do come last, else the newest first.
        self._moulds: list[tuple[str, str, str, bool]] = []
        #: Chunks that have no piece, but for what is the reply's own.
        self._bare: dict[str, Usual] = {}

    def read(self, rest: str) -> Usual | None:
        """A chunk without its reply's own beginning; None: look closer."""
        for before, behind, model, ends in self._moulds:
            if rest.startswith(before) and rest.endswith(behind):
                # Where the two overlap, nothing is left.
                written = rest[len(before) : len(rest) - len(behind)]
                try:
                    piece = orjson.loads(written)
                except orjson.JSONDecodeError:
                    return None
                if type(piece) is str:
                    return model, piece, ends
        return self._bare.get(rest)

    def learn(self, own: str, rest: str, said: Usual) -> None:
        """Remember a chunk, `own` and `rest`, and what it says."""
        model, piece, ends = said
        if len(rest) - len(piece) > LONGEST:
            return
        try:
            written = f"{_NAME}{orjson.dumps(piece).decode()}"
            before, found, behind = rest.partition(written)
            probe = f'{own}{before}{_NAME}"{_PROBE}"{behind}'
            # It may stand elsewhere too, such as among the probabilities.
            probed = usual(orjson.loads(probe)) if found else None
        except (TypeError, orjson.JSONDecodeError):
            # Half a character.
            return
        if probed == (model, _PROBE, ends):
            new = before + _NAME, behind, model, ends
            alike = [one for one in self._moulds if one[3] == ends]
            others = [one for one in self._moulds if one[3] != ends]
            alike = [new, *alike[: MOULDS - 1]]
            self._moulds = others + alike if ends else alike + others
        elif own and not piece and _NAME not in rest:
            if len(self._bare) >= BARE:
                self._bare.clear()
            self._bare[rest] = said


def own_of(data: str) -> str:
    """What names the reply at the beginning of a chunk; empty where nothing does."""
    found = _OWN.match(data)
    return found[0] if found else ""


def usual(body: Mapping[str, Any]) -> Usual | None:
    """What a chunk says, if it is of the usual kind; None: look closer."""
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
    delta, reason = choice.get("delta"), choice.get("finish_reason")
    if (
        not isinstance(delta, dict)
        or not delta.keys() <= _USUAL_DELTA
        or reason not in (None, "stop")
    ):
        return None
    piece, model = delta.get("content") or "", body.get("model") or ""
    if not isinstance(piece, str) or not isinstance(model, str):
        return None
    return model, piece, reason == "stop"
