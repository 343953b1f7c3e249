"""The rows of a dataset in pieces: so many at a time, of one source each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from batch.dataset.files import name_of, size
from batch.dataset.reader import sheets
from batch.dataset.rows import BadRow, Row, Sheet
from batch.errors import DatasetError
from batch.service.order import Order, Receipt

#: Rows of a piece, of one number all of them: the statement that queues them is then
#: the same each time. Fewer, where they are long.
ROWS = 4000
CHARACTERS = 2 * 1024 * 1024
UNBOUNDED = 1 << 62


class Piece(NamedTuple):
    """Rows of one source, one after the other."""

    source: str
    #: What is added to a row's number, for its number among the rows of all sources.
    offset: int
    rows: Sheet | Sequence[Row]


def pieces(
    order: Order,
    receipt: Receipt,
    stdin: BinaryIO | None,
    on_bytes: Callable[[int], None] | None,
) -> Iterator[Piece]:
    """The good rows of all sources; the bad ones are complained of on the way."""
    number, done = order.first_number, 0
    left = UNBOUNDED if order.limit is None else order.limit
    for source in order.sources:
        name = name_of(source)
        found = sheets(
            source,
            format=order.format,
            encoding=order.encoding,
            stdin=stdin,
            on_bytes=None if on_bytes is None else _offset(on_bytes, done),
        )
        before = left
        try:
            for rows in _listed(_of_one_size(_first(found, left))):
                if isinstance(rows, Sheet):
                    left -= len(rows.values)
                    yield Piece(name, number, rows)
                    continue
                left -= len(rows)
                for row in rows:
                    if isinstance(row, BadRow):
                        receipt.complain(name, row.line, row.reason, row.element)
                good = [row for row in rows if isinstance(row, Row)]
                yield Piece(name, number, good)
        except DatasetError as error:
            # A file that is spoilt half-way: its bad lines so far are told of too.
            for problem in error.problems:
                receipt.complain(problem.source, problem.line, problem.reason)
            raise receipt.refusal() from None
        number += before - left
        done += size(source) or 0
        if not left:
            return


_Found = Row | BadRow | Sheet


def _first(found: Iterator[_Found], most: int) -> Iterator[_Found]:
    """The first records, up to so many, and no look at what is behind them."""
    for one in found:
        if not isinstance(one, Sheet):
            most -= 1
        else:
            one, _ = one.cut(most)
            most -= len(one.values)
        yield one
        if not most:
            return


def _of_one_size(found: Iterator[_Found]) -> Iterator[_Found]:
    """The same, with sheets that are joined and cut."""
    held: Sheet | None = None
    try:
        for one in found:
            if held is not None:
                joined = held.joined(one) if isinstance(one, Sheet) else None
                if joined is None:
                    yield held
                held, one = None, joined or one
            if not isinstance(one, Sheet):
                yield one
                continue
            while len(one.values) >= ROWS or sum(map(len, one.texts)) >= CHARACTERS:
                first, one = one.cut(ROWS)
                yield first
            held = one if one.values else None
    except DatasetError:
        # What came before it is good.
        if held is not None:
            yield held
        raise
    if held is not None:
        yield held


def _listed(found: Iterator[_Found]) -> Iterator[Sheet | list[Row | BadRow]]:
    """The same, with lists of what stands in no sheet."""
    rows: list[Row | BadRow] = []
    characters = 0
    try:
        for one in found:
            if not isinstance(one, Sheet):
                rows.append(one)
                characters += len(one.text) if isinstance(one, Row) else 0
                if len(rows) < ROWS and characters < CHARACTERS:
                    continue
            if rows:
                yield rows
                rows, characters = [], 0
            if isinstance(one, Sheet):
                yield one
    except DatasetError:
        # What came before it is told of too.
        yield rows
        raise
    if rows:
        yield rows


def _offset(on_bytes: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda position: on_bytes(done + position)
