"""Lines of a Batch file, and lines that we exported ourselves: what they ask.

OpenAI's have `custom_id`, `method`, `url` and `body`; those of Mistral and Fireworks
have no `method` and no `url`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batch.core.messages import kind_of
from batch.errors import RowError

_CHAT_PATH = "/chat/completions"
#: Fields of a body that are no parameters, or that the profile decides.
NO_PARAMETERS = frozenset(
    {"messages", "message", "prompt", "model", "stream", "stream_options"}
)
#: What every line of our own export has, and hardly another.
_EXPORTED = frozenset(
    {"custom_id", "status", "completion", "finish_reason", "model", "attempts"}
)


def body_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of a Batch line, None if the row is none; RowError if it is refused."""
    if "body" not in row:
        return None
    body = row["body"]
    if not isinstance(body, dict) or not ("custom_id" in row or "messages" in body):
        return None
    method = row.get("method")
    if method is not None and str(method).upper() != "POST":
        raise RowError(f"the method is {str(method)[:40]!r}; only POST is understood")
    url = row.get("url")
    if url is not None and not _is_chat(str(url)):
        raise RowError(f"the url is {str(url)[:80]!r}; only chat completions are asked")
    return body


def _is_chat(url: str) -> bool:
    path, _, _ = url.partition("?")
    return path.strip().removesuffix("/").endswith(_CHAT_PATH)


def params_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the body asks with; RowError for more than one answer."""
    number = body.get("n")
    if isinstance(number, int | float) and number > 1:
        raise RowError(
            f"n is {number}, and a request has one answer here; "
            "repeat the line instead, and say --no-dedupe"
        )
    return {name: body[name] for name in body if name not in NO_PARAMETERS}


def broken(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row that would be a Batch line if it had a body."""
    if "custom_id" not in row or not ("url" in row or "method" in row):
        return None
    if "body" not in row:
        return "the line has no 'body'"
    if not isinstance(row["body"], dict):
        return f"'body' is {kind_of(row['body'])}, not an object"
    return None


def is_exported(row: Mapping[str, Any]) -> bool:
    """Whether it is a line of our own export."""
    return "completion" in row and row.keys() >= _EXPORTED


def source_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row that an exported line came from, also over several exports.

    None where the line does not hold it, as in CSV.
    """
    found = None
    while is_exported(line):
        row = line.get("input")
        if isinstance(row, str):
            # As Parquet has it.
            try:
                row = json.loads(row)
            except (ValueError, RecursionError):
                break
        if not isinstance(row, dict):
            break
        line = found = row
    return found
