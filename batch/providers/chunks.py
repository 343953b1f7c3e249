"""Shapes of a chat completion's chunks: the places where text may stand.

A value of an unknown shape in such a place may be a piece of the answer. It raises
UnknownShapeError: were it skipped, the rest would be stored as the whole answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Values that hold no text, whatever type was meant: PHP writes an empty object as [].
_EMPTY: tuple[Any, ...] = (None, "", [], {})
#: Places of text in an event without choices, in the formats of other protocols.
_TEXTS = ("delta", "content", "text", "message")
_REASONING = ("thinking", "reasoning")


class UnknownShapeError(ValueError):
    """A place of text holds what no known server writes there."""


def first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the choice of index 0, empty where the event has none."""
    choices = body.get("choices")
    if choices in _EMPTY:
        if choices is None:
            _check_companion(body)
        return {}
    first: Mapping[str, Any] | None = None
    for choice in _objects(choices, "choices", "a choice"):
        index = choice.get("index")
        if index not in (None, 0):
            if not isinstance(index, int):
                raise _unknown("index", index)
        elif first is None:
            first = choice
    return first or {}


def part_of(choice: Mapping[str, Any], *, repeated: bool) -> Mapping[str, Any]:
    """Return the delta of a choice, or its message.

    `repeated`: text came before, so that a message only says it again.
    """
    if delta := _object(choice, "delta"):
        # Beside a content, it repeats that (Together, Snowflake).
        if delta.get("content") is None:
            _check_empty(delta, "text", "delta has text and no content")
        return delta
    if message := _object(choice, "message"):
        return {} if repeated else message
    for name in ("text", "content"):
        _check_empty(choice, name, f"a choice has {name} and no delta")
    return {}


def said(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning of a content: a text, or a list of parts."""
    if isinstance(content, str):
        return content, ""
    text = reasoning = ""
    if content in _EMPTY:
        return text, reasoning
    for part in _objects(content, "content", "a part of content"):
        kind, more = part.get("type"), part.get("text")
        if kind in _REASONING or (more is None and "thinking" in part):
            # Of Mistral, of Databricks.
            reasoning += "".join(
                _thoughts(part.get(name)) for name in ("thinking", "summary", "text")
            )
        elif isinstance(more, str):
            text += more
        elif more not in _EMPTY or (kind in (None, "text") and "text" not in part):
            raise UnknownShapeError("a part of content has no text")
        else:
            # A reference, an image.
            _check_empty(part, "content", "a part of content has no text")
    return text, reasoning


def tool_calls_of(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the fragments of tool calls."""
    calls = part.get("tool_calls")
    if calls not in _EMPTY:
        yield from _objects(calls, "tool_calls", "a tool call")


def _check_companion(body: Mapping[str, Any]) -> None:
    """Accept an event without choices unless text may stand in it.

    Servers send events of their own between the chunks: pings, costs, usage, filter
    results, sources. They have too many names to list, and to refuse an unknown one
    would fail every answer of such a server, so only the known places of text count.
    """
    for name in _TEXTS:
        _check_empty(body, name, f"it has {name} and no choices")


def _check_empty(of: Mapping[str, Any], name: str, otherwise: str) -> None:
    if of.get(name) not in _EMPTY:
        raise UnknownShapeError(otherwise)


def _object(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = of.get(name)
    if isinstance(value, dict):
        return value
    if value in _EMPTY:
        return {}
    raise _unknown(name, value)


def _objects(value: Any, name: str, one: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _unknown(name, value)
    for item in value:
        if not isinstance(item, dict):
            raise _unknown(one, item)
    return value


def _thoughts(value: Any) -> str:
    """Return the text of a reasoning; it is no answer, so an unknown shape is none."""
    if isinstance(value, str):
        return value
    texts = (
        one.get("text")
        for one in (value if isinstance(value, list) else ())
        if isinstance(one, dict)
    )
    return "".join(text for text in texts if isinstance(text, str))


def _unknown(name: str, value: Any) -> UnknownShapeError:
    match value:
        case str():
            kind = "a text"
        case bool():
            kind = "a boolean"
        case int() | float():
            kind = "a number"
        case list():
            kind = "a list"
        case dict():
            kind = "an object"
        case _:
            kind = "null"
    return UnknownShapeError(f"{name} is {kind}")
