"""Pieces of chat completions, and any text and cuts to try laws with."""

from __future__ import annotations

from chatting import chunk
from hypothesis import strategies as st

ROLE = chunk("", role="assistant")
STOP = chunk(None, "stop")

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
cuts = st.lists(st.integers(0, 2000), max_size=12)


def call(index: int | None = None, **fields: object) -> dict[str, object]:
    place = {} if index is None else {"index": index}
    return {**place, **fields}


def function(name: str | None, arguments: str) -> dict[str, str]:
    return {**({"name": name} if name else {}), "arguments": arguments}


def wanted(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": function(name, arguments)}
