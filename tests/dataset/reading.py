"""Text and bytes read as a dataset, and JSON to write some with."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from batch.dataset.reader import read
from batch.dataset.rows import BadRow, Format, Row
from batch.errors import DatasetError

law = settings(derandomize=True, deadline=None, max_examples=100)


def of(content: bytes | str, **options: Any) -> list[Row | BadRow]:
    data = content.encode() if isinstance(content, str) else content
    return list(read("-", stdin=io.BytesIO(data), **options))


def jsonl(content: bytes | str, **options: Any) -> list[Row | BadRow]:
    return of(content, format=Format.JSONL, **options)


def table(content: bytes | str, **options: Any) -> list[Row | BadRow]:
    return of(content, format=Format.CSV, **options)


def array(content: bytes | str, **options: Any) -> list[Row | BadRow]:
    return of(content, format=Format.JSON, **options)


def values(rows: list[Row | BadRow]) -> list[dict[str, Any]]:
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.values for row in rows if isinstance(row, Row)]


def bad(rows: list[Row | BadRow]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, BadRow)]


def refusal(content: bytes | str, **options: Any) -> str:
    with pytest.raises(DatasetError) as error:
        of(content, **options)
    assert len(error.value.problems) == 1
    return str(error.value)


def until_fault(
    content: bytes, form: Format
) -> tuple[list[Row | BadRow], DatasetError]:
    rows = []
    try:
        for row in read("-", format=form, stdin=io.BytesIO(content)):
            rows.append(row)
    except DatasetError as error:
        return rows, error
    pytest.fail("no fault was found")


@st.composite
def cuts(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    edges = [0, *places, len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


json_keys = st.text(st.sampled_from('ab:" ,{}[]\\\n铁'), max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(json_keys, inner, max_size=3)
    ),
    max_leaves=6,
)
json_rows = st.lists(
    st.dictionaries(json_keys, json_values, max_size=4), min_size=1, max_size=6
)
json_styles = st.sampled_from(
    [
        {},
        {"ensure_ascii": False},
        {"separators": (",", ":")},
        {"separators": (" , ", "  : "), "ensure_ascii": False},
    ]
)
