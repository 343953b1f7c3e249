"""How a request keeps its messages: once, where its row holds them word for word.

Most rows do, in one column: a text that the user says, or a list of messages. Then the
column's name stands in the place of the messages, and half of the queue is spared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import case, null

from batch.store.messages import LIST, Messages, parsed
from batch.store.schema import AnyRow, requests

#: The row, where they are in it; else null.
SOURCE = case(
    (requests.c.messages.startswith(LIST), null()), else_=requests.c.input
).label("source")
#: What `messages_of` needs.
KEPT: Sequence[Any] = (requests.c.messages, SOURCE)


def kept(messages: list[dict[str, Any]], column: str | None) -> str:
    """What is stored of these messages; `column`: that which they are, if there is."""
    return (column and kept_in(column)) or orjson.dumps(messages).decode()


def kept_in(column: str) -> str | None:
    """The same of messages that are this column, word for word; None: not by that."""
    return None if column.startswith(LIST) else column


def messages_of(row: AnyRow) -> Messages:
    """The messages of a request, of which KEPT was read."""
    return parsed(row.messages, row.source)
