"""The messages of a request, as its row keeps them: see store.asking."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

#: How a list of messages begins; a column of such a name is not kept by it.
LIST = "["


class Messages(NamedTuple):
    """The messages of a request, and the same as JSON."""

    said: list[dict[str, Any]]
    json: bytes


def parsed(messages: str, source: str | None) -> Messages:
    """Return the messages of a request; `source`: the row, where they are in it."""
    if source is None:
        return Messages(orjson.loads(messages), messages.encode())
    said = orjson.loads(source)[messages]
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    return Messages(said, orjson.dumps(said))
