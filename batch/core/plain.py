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
    if len(text) <= most and text.isascii() and text.isprintable():
        return text.strip()
    line = _CONTROLS.sub(" ", _ESCAPES.sub("", text[: 4 * most])).strip()
    # Headers that are not UTF-8 come with lone surrogates, which nobody can write.
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= most else line[: most - 1] + "…"


def printable(text: str) -> str:
    """The text with its lines, but nothing that a terminal would obey."""
    # File names that are not UTF-8 come with lone surrogates.
    text = text.encode("utf-8", "replace").decode()
    cleaned = _ESCAPES.sub("", text)
    return "".join(
        c if c in "\n\t" or not _CONTROLS.match(c) else "\N{REPLACEMENT CHARACTER}"
        for c in cleaned
    )


def redact(text: str, key: str | None, *, cut: bool = False) -> str:
    """The text without the key, which some endpoints repeat.

    `cut`: its end is missing, and may have gone through the key.
    """
    if not text or not key or len(key) < _SHORTEST_KEY:
        return text
    # Some write a slash in JSON as PHP does.
    forms = (key, key.replace("/", "\\/")) if "/" in key else (key,)
    for form in forms:
        if form in text:
            text = text.replace(form, "[key]")
        may_end_so = cut and form[:_SHORTEST_KEY] in text[-len(form) :]
        begun = _begun(text, form) if may_end_so else 0
        if begun >= _SHORTEST_KEY:
            text = text[:-begun] + "[key]"
    return text


def _begun(text: str, key: str) -> int:
    """How much of the key the text ends with."""
    sizes = range(min(len(key) - 1, len(text)), 0, -1)
    return next((size for size in sizes if key.startswith(text[-size:])), 0)


class Veil:
    """Hides the key in a text that comes in pieces, wherever it is cut."""

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= _SHORTEST_KEY else ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be shown by now: an end that could begin the key is held back."""
        text = redact(self._held + text, self._key)
        shown = len(text) - _begun(text, self._key)
        self._held = text[shown:]
        return text[:shown]
