"""What can be sent: chat messages and JSON values that every database, protocol and
endpoint can hold. Each check gives the size in bytes, or raises RowError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from batch.errors import RowError

ROLES = ("system", "user", "assistant")
#: Those of OpenAI's chat completions beside them.
CHAT_ROLES = (*ROLES, "developer", "tool")
#: The roles of a message that says how to answer.
INSTRUCTS = ("system", "developer")
#: Deeper than any real request; json.dumps and orjson give up soon after.
MAX_DEPTH = 100


def check_messages(messages: list[Any], name: str, *, chat: bool = False) -> int:
    """The size of a row's own messages; RowError if they cannot be sent.

    `chat`: as OpenAI's chat completions have them, where functions may be called.
    """
    if not messages:
        raise RowError(f"{name!r} is empty")
    size = 0
    for index, message in enumerate(messages):
        size += _message(message, f"{name}[{index}]", chat)
    role = messages[-1]["role"]
    if role != "user" and not (chat and role == "tool"):
        where = f"{name}[{len(messages) - 1}]"
        raise RowError(f"{where}: the last message must be the user's, not {role}'s")
    return size


def _message(message: Any, where: str, chat: bool) -> int:
    if not isinstance(message, dict):
        raise RowError(f"{where} is {kind_of(message)}, not an object")
    role = message.get("role")
    roles = CHAT_ROLES if chat else ROLES
    if not isinstance(role, str) or role not in roles:
        said = f"{role[:40]!r}" if isinstance(role, str) else kind_of(role)
        said = said if "role" in message else "missing"
        raise RowError(f"{where}: the role is {said}; it can be {listed(roles)}")
    content = message.get("content")
    if chat and not content and role == "assistant" and message.get("tool_calls"):
        return check_value(message, where)
    if isinstance(content, list):
        if not content or not all(isinstance(part, dict) for part in content):
            raise RowError(f"{where}: the content is no list of parts")
    elif not isinstance(content, str):
        said = kind_of(content) if "content" in message else "missing"
        raise RowError(f"{where}: the content is {said}")
    elif (not content or content.isspace()) and not (chat and role == "tool"):
        raise RowError(f"{where}: the content is empty")
    return check_value(message, where)


def check_text(text: str, what: str) -> int:
    """The size in bytes of a text that any database and endpoint can hold."""
    if "\0" in text:
        raise RowError(f"{what} contains a NUL character")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise RowError(f"{what} contains a lone surrogate") from None


def check_value(value: Any, where: str, depth: int = 0) -> int:
    """The size of a JSON value, roughly; RowError if it cannot be sent as JSON."""
    if depth > MAX_DEPTH:
        raise RowError(f"{where} is nested too deeply")
    if isinstance(value, str):
        return check_text(value, where)
    if isinstance(value, dict):
        return sum(
            check_value(key, where, depth + 1) + check_value(item, where, depth + 1)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return sum(check_value(item, where, depth + 1) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError(f"{where} contains a number that is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise RowError(f"{where} contains an integer of more than 64 bits")
    return 8


def said_in(message: Mapping[str, Any]) -> str:
    """What a message says, for a person: its text, else its parts or calls as JSON."""
    content = message.get("content")
    if isinstance(content, str) and (content or "tool_calls" not in message):
        return content
    return json.dumps(content or message.get("tool_calls"), ensure_ascii=False)


def kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def listed(names: Sequence[str], most: int = 8) -> str:
    """'a', 'b' and 'c'; or 'a', 'b' and 12 more."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
