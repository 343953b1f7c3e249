"""One JSON text to one row: exact numbers, no NUL, no key twice; and JSONL of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from batch.core.messages import kind_of
from batch.dataset.encoding import Decoder
from batch.dataset.lines import TooLong, too_long
from batch.dataset.rows import BadRow, Row

_BLANK = b" \t\r\n"
# From here on orjson makes floats of integers, in silence.
_BIG = 2.0**63

_REASONS = {
    "depth limit exceeded": "nested too deeply",
    "number is infinity when parsed as double": "a number is too large",
    "no low surrogate in string": "a lone surrogate (half of a \\u pair)",
    "invalid high surrogate in string": "a lone surrogate (half of a \\u pair)",
}


class _DuplicateKeyError(Exception):
    pass


def jsonl_rows(
    lines: Iterator[tuple[int, bytes | TooLong]],
    decoder: Decoder,
    max_line: int,
    *,
    after: int = 0,
) -> Iterator[Row | BadRow]:
    """One object a line; blank lines are skipped. `after`: of the row before."""
    number = after
    is_utf8 = decoder.name == "utf-8"
    for line, raw in lines:
        if isinstance(raw, TooLong):
            number += 1
            yield BadRow(number, line, too_long(raw.size, max_line))
        elif is_utf8 and (values := _plain(raw)) is not None:
            number += 1
            yield Row(number, line, values, raw.decode())
        elif raw and raw.strip(_BLANK):
            number += 1
            yield object_row(number, line, raw, decoder)


def _plain(raw: bytes) -> dict[str, Any] | None:
    """The values of a line that is nothing but texts by their keys; None: look closer.

    Most lines are, and there are millions of them.
    """
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if type(values) is not dict or raw.count(b":") != len(values):
        return None
    # One byte is looked for much faster than many.
    if (b"\\" in raw and b"\\u0000" in raw) or b"\r" in raw or b"\n" in raw:
        return None
    for value in values.values():
        if type(value) is not str:
            return None
    return values


def object_row(
    number: int,
    line: int,
    raw: bytes,
    decoder: Decoder,
    *,
    in_array: bool = False,
    element: int = 0,
) -> Row | BadRow:
    """The row of one JSON text, or what is wrong with it."""

    def bad(reason: str) -> BadRow:
        return BadRow(number, line, reason, element)

    try:
        text = decoder.text(raw)
    except UnicodeDecodeError as error:
        return bad(decoder.complaint(raw, error))
    if not decoder.is_utf8:
        raw = text.encode()
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return bad(_complaint(text, error, line if in_array else 0))
    if type(values) is not dict:
        return bad(f"{kind_of(values)}, where an object is expected")
    if _is_suspicious(raw, values):
        values = _second_look(raw, text, values)
        if isinstance(values, str):
            return bad(values)
    several_lines = b"\n" in raw or b"\r" in raw
    return Row(number, line, values, _joined(text) if several_lines else text, element)


def _is_suspicious(raw: bytes, values: dict[str, Any]) -> bool:
    """Cheap signs, at times false ones, of what orjson passes in silence."""
    keys, has_big = _survey(values)
    if has_big or (b"\\" in raw and b"\\u0000" in raw):
        return True
    # A key that stands twice leaves more colons than keys; so does a colon in a text.
    if raw.count(b":") == keys:
        return False
    if raw.count(b'":') != keys or b" :" in raw:
        return True
    # One byte is looked for much faster than two.
    return (b"\t" in raw and b"\t:" in raw) or (
        (b"\n" in raw or b"\r" in raw) and (b"\n:" in raw or b"\r:" in raw)
    )


def _survey(values: dict[str, Any]) -> tuple[int, bool]:
    """How many keys there are at all levels, and whether a number is suspiciously big.

    With a list in place of recursion, for rows may be nested 1,024 deep.
    """
    keys = len(values)
    has_big = False
    found = [value for value in values.values() if type(value) is not str]
    for value in found:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict:
            keys += len(value)
            found.extend(value.values())
        elif kind is list:
            found.extend(value)
        elif kind is float and not -_BIG < value < _BIG:
            has_big = True
    return keys, has_big


def _second_look(raw: bytes, text: str, values: dict[str, Any]) -> Any:
    """The values with exact integers, or the reason why they are refused."""
    if b"\\u0000" in raw and has_nul(values):
        return "contains a NUL character (\\u0000)"
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        return f"the key {str(error)[:80]!r} stands twice"
    except RecursionError:
        return "nested too deeply"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _DuplicateKeyError(key)
        values[key] = value
    return values


def has_nul(values: dict[str, Any]) -> bool:
    """Whether a NUL stands in any text of it."""
    found: list[Any] = [*values, *values.values()]
    for value in found:
        if isinstance(value, dict):
            found.extend(value)
            found.extend(value.values())
        elif isinstance(value, list):
            found.extend(value)
        elif isinstance(value, str) and "\0" in value:
            return True
    return False


def _joined(text: str) -> str:
    """A row of several lines on one; JSON has no line end inside a string."""
    lines = text.replace("\r", "\n").split("\n")
    return "".join([line.strip(" \t") for line in lines])


def _complaint(text: str, error: orjson.JSONDecodeError, begin: int) -> str:
    """What is wrong in words; `begin` is the line of a row that may have several."""
    where = f"line {begin + error.lineno - 1}" if begin else f"column {error.colno}"
    if text.startswith(("NaN", "Infinity"), error.pos):
        return f"NaN and Infinity are not JSON ({where})"
    if text.startswith("\0", error.pos):
        return f"contains a NUL character ({where})"
    reason = _REASONS.get(error.msg)
    return f"{reason} ({where})" if reason else f"not JSON: {error.msg} ({where})"
