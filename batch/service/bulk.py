"""Rows of the usual kind on their way into the queue, many of them at once.

Each brings a prompt and a name, and asks nothing else; what `Intake` checks and makes
of one row is checked and made of columns here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from batch.core import asked
from batch.core.rendering import Renderer, are_names, are_prompts
from batch.dataset.rows import Sheet
from batch.service.pieces import Piece
from batch.store import asking


class Bulk(NamedTuple):
    """Requests about to be queued, by their columns."""

    #: The rows, for another look at each of them.
    piece: Piece
    columns: Sequence[str]
    numbers: Sequence[int]
    names: Sequence[str]
    texts: Sequence[str]
    #: What each keeps of its messages.
    messages: str
    digests: Sequence[bytes]


def in_bulk(piece: Piece, renderer: Renderer) -> Bulk | None:
    """The requests of all these rows; None where one has to be looked at by itself."""
    sheet = piece.rows
    if not isinstance(sheet, Sheet):
        return None
    columns = renderer.plain_columns(sheet.columns)
    if columns is None:
        return None
    prompt, name = columns
    kept = asking.kept_in(prompt)
    prompts = [values[prompt] for values in sheet.values]
    if kept is None or not are_prompts(prompts):
        return None
    begin = piece.offset + sheet.number
    numbers = range(begin, begin + len(prompts))
    named: Sequence[Any] = numbers
    if name is not None:
        named = [values[name] for values in sheet.values]
    names = list(map(str, named)) if set(map(type, named)) == {int} else named
    if not are_names(names) or len(set(names)) < len(names):
        return None
    digests = asked.of_prompts(prompts)
    return Bulk(piece, sheet.columns, numbers, names, sheet.texts, kept, digests)
