"""How a request keeps its messages: once, where its row holds them word for word.

Most rows do, in one column: a text that the user says, or a list of messages. Then the
column's name stands in the place of the messages, and half of the queue is spared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import case, null

from batch.store.schema import AnyRow, requests

#: How a list of messages begins; a column of such a name is not kept by it.
_LIST = "["


class Messages(NamedTuple):
    """What is sent, and the same as JSON."""

    said: list[dict[str, Any]]
    json: bytes


#: The row, where they are in it; else null.
SOURCE = case(
    (requests.c.messages.startswith(_LIST), null()), else_=requests.c.input
).label("source")
#: What `messages_of` needs.
KEPT: Sequence[Any] = (requests.c.messages, SOURCE)


def kept(messages: list[dict[str, Any]], column: str | None) -> str:
    """What is stored of these messages; `column`: that which they are, if there is."""
    return (column and kept_in(column)) or orjson.dumps(messages).decode()


def kept_in(column: str) -> str | None:
    """The same of messages that are this column, word for word; None: not by that."""
    return None if column.startswith(_LIST) else column


def messages_of(row: AnyRow) -> Messages:
    """The messages of a request, of which KEPT was read."""
    if row.source is None:
        return Messages(orjson.loads(row.messages), row.messages.encode())
    said = orjson.loads(row.source)[row.messages]
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    return Messages(said, orjson.dumps(said))
