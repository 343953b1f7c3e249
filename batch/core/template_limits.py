"""Limits of what a template may make and take, checked before it is made.

Each is an OverflowError, of which core/sandbox.py makes the row's error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from string import Formatter
from typing import Any

from batch.core.template import MAX_TEXT

#: The most bits that `**` may make: enough for a number of 600 digits.
MAX_POWER_BITS = 2048
#: Deepest nesting that is printed; Python's own limit depends on its version.
MAX_DEPTH = 500
#: Steps that rendering a row may take: 1 for an iteration, CALL for a call.
MAX_STEPS = 200_000
CALL = 10
#: Characters that are read in a step.
READ = 1000
#: The most characters and items that expressions may make for a row, together.
MAX_MADE = 8 * MAX_TEXT

#: The variable with the meter of a row; no template can spell it.
METER = " meter"
_NUMBER = re.compile(r"[0-9]+")
#: The widths of a conversion after `%`, behind its key and flags.
_CONVERSION = re.compile(r"%(?:\([^)]*\))?[#0 +-]*([0-9*.]*)")
_WIDTH_OF_VALUE = (
    "a format that takes its width from a value may make too many characters; use "
    "`center`, or the methods `ljust` and `rjust`"
)


def bounded(parts: Iterable[str]) -> str:
    """Join the parts; refuse a text that is too long."""
    pieces = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_TEXT:
            raise OverflowError(f"more than {MAX_TEXT:,} characters")
        pieces.append(part)
    return "".join(pieces)


class Meter:
    """The steps that the rendering of one row has taken, and what it has made."""

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self._room = MAX_MADE

    def step(self, number: int = 1) -> None:
        """Take so many steps; OverflowError beyond the last."""
        self._left -= number
        if self._left < 0:
            raise OverflowError(f"it takes more than {MAX_STEPS:,} steps")

    def made(self, value: Any) -> Any:
        """Count the size of a text or list, and return it; OverflowError beyond."""
        if isinstance(value, str | list | tuple):
            self._room -= len(value)
            if self._room < 0:
                raise OverflowError(f"it makes more than {MAX_MADE:,} characters")
        return value


def check_width(text: str, *widths: Any) -> None:
    """Refuse widths that would make too long a text of this one."""
    for width in widths:
        # At worst each of its characters is widened.
        if isinstance(width, int) and width * (1 + str(text).count("\t")) > MAX_TEXT:
            raise OverflowError(f"more than {MAX_TEXT:,} characters")


def check_format(text: str) -> None:
    """Refuse a text for str.format whose widths are too large, or taken from values."""
    specs = [spec or "" for _, _, spec, _ in Formatter().parse(text)]
    if any("{" in spec for spec in specs):
        raise OverflowError(_WIDTH_OF_VALUE)
    _check_widths(width for spec in specs for width in _NUMBER.findall(spec))


def check_percent(text: Any) -> None:
    """Refuse a text for `%` whose widths are too large, or taken from values."""
    if isinstance(text, str):
        found = _CONVERSION.findall(text.replace("%%", ""))
        if any("*" in widths for widths in found):
            raise OverflowError(_WIDTH_OF_VALUE)
        _check_widths(width for widths in found for width in _NUMBER.findall(widths))


def _check_widths(widths: Iterable[str]) -> None:
    if sum(int(width[:12]) for width in widths) > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def check_power(base: Any, exponent: Any) -> None:
    """Refuse a power of too many bits."""
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * exponent > MAX_POWER_BITS
    ):
        raise OverflowError(f"{base} ** {exponent} is too large")


def check_product(left: Any, right: Any) -> None:
    """Refuse a product of too many bits."""
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > MAX_POWER_BITS
    ):
        raise OverflowError(f"a product has more than {MAX_POWER_BITS:,} bits")


def check_sum(left: Any, right: Any) -> None:
    """Refuse two texts or lists that are too long together."""
    are_long = all(isinstance(one, str | list | tuple) for one in (left, right))
    if are_long and len(left) + len(right) > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def check_replace(text: str, old: Any = None, new: Any = None, *_: Any) -> None:
    """Refuse replacements that make too long a text."""
    are_texts = isinstance(old, str) and isinstance(new, str)
    if are_texts and len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def check_repeat(what: Any, times: Any) -> None:
    """Refuse to repeat a text or list until it is too long."""
    if (
        isinstance(what, str | list | tuple)
        and isinstance(times, int)
        and len(what) * times > MAX_TEXT
    ):
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def check_number(number: Any, what: str) -> None:
    """Refuse so many lists, or items to fill one up with."""
    if isinstance(number, int) and number > MAX_STEPS:
        raise OverflowError(f"more than {MAX_STEPS:,} {what}")


def check_nested(value: Any) -> None:
    """Refuse to print what is nested too deeply, or would be too long a text."""
    levels = [{id(value): value}]
    while levels[-1]:
        if len(levels) > MAX_DEPTH:
            raise OverflowError(f"a list is nested more than {MAX_DEPTH} deep")
        levels.append(
            {
                id(one): one
                for each in levels[-1].values()
                for one in _items(each)
                if isinstance(one, list | dict | tuple)
            }
        )
    # From the innermost outwards: one list may stand in another a thousand times.
    sizes: dict[int, int] = {}
    for level in reversed(levels):
        for each in level.values():
            sizes[id(each)] = 2 + sum(
                len(one) if isinstance(one, str) else sizes.get(id(one), 1)
                for one in _items(each)
            )
    if sizes[id(value)] > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _items(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value
