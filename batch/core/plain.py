"""Foreign text made fit to be shown: one line, no escape sequences, no key."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
# C0 and C1 controls, and what turns the writing direction round.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+"
)

#: A key shorter than this is too likely to be an ordinary word.
_SHORTEST_KEY = 8


def plain(text: str, most: int = 300, key: str | None = None) -> str:
    """The text on one line, without controls, cut to so many characters.

    The key goes first: cut, it would not be recognised.
    """
    text = redact(text, key)
    line = _CONTROLS.sub(" ", _ESCAPES.sub("", text[: 4 * most])).strip()
    # Headers that are not UTF-8 come with lone surrogates, which nobody can write.
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= most else line[: most - 1] + "…"


def printable(text: str) -> str:
    """The text with its lines, but nothing that a terminal would obey."""
    cleaned = _ESCAPES.sub("", text)
    return "".join(
        c if c in "\n\t" or not _CONTROLS.match(c) else "\N{REPLACEMENT CHARACTER}"
        for c in cleaned
    )


def redact(text: str, key: str | None) -> str:
    """The text without the key, which some endpoints repeat."""
    if not key or len(key) < _SHORTEST_KEY:
        return text
    # Some write a slash in JSON as PHP does.
    for form in (key, key.replace("/", "\\/")):
        if form in text:
            text = text.replace(form, "[key]")
    return text


class Veil:
    """Hides the key in a text that comes in pieces, wherever it is cut."""

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= _SHORTEST_KEY else ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be shown by now: an end that could begin the key is held back."""
        text = redact(self._held + text, self._key)
        for size in range(min(len(self._key) - 1, len(text)), 0, -1):
            if self._key.startswith(text[-size:]):
                self._held = text[-size:]
                return text[:-size]
        self._held = ""
        return text
