"""Most lines are read in bulk, and come to the same as each read by itself."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import jsonl, law

from batch.dataset import files, reader, sheets
from batch.dataset.rows import Format, Sheet
from batch.errors import DatasetError

plain_lines = st.builds(
    lambda columns, row, style: json.dumps(
        dict(zip(columns, row, strict=False)), **style
    ).encode(),
    st.sampled_from([("prompt",), ("id", "prompt"), ("prompt", "id")]),
    st.tuples(st.sampled_from(["x", "a: b", "é", "\u2028", 'q": ', ""]), st.integers()),
    st.sampled_from([{}, {"ensure_ascii": False}, {"separators": (",", ":")}]),
)
odd_lines = st.sampled_from(
    [
        *(b"", b" ", b"nope", b"[1]", b"{}", b'{"a":1.5}', b'{"a":{"b":"c"}}'),
        *(b'{"a":1,"a":2}', b'{"a" :1,"a":2}', b'{"a":"\\u0000"}', b'{"a":"\xff"}'),
        *(b'{"a":"b","a":"c"}', b'{"a":{"b":"c"},"a":"d"}', b'{"a"\t:1,"a" :"b"}'),
        *(b'{"a":"\\"","a":"b"}', b'{"a":"\\\\","a" :""}', b'{"a":"\\":","a" :1}'),
        *(b'{"a":18446744073709551616}', b'{"a":1}\r', b'{"a":\r1}', b'{"a":"' * 30),
    ]
)


@given(
    st.lists(plain_lines | plain_lines | plain_lines | odd_lines, max_size=30),
    st.sampled_from([b"", b"\n"]),
    st.integers(1, 200),
    st.sampled_from([60, 10_000]),
)
@law
def test_lines_that_are_read_in_bulk_are_read_as_each_by_itself(
    found, end, stretch, most
):
    content = b"\n".join(found) + end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sheets, "STRETCH", stretch)
        patch.setattr(files, "BLOCK", 7)
        in_bulk = _rows_or_refusal(content, most)
        patch.setattr(sheets, "_sheet", lambda *_: None)
        assert in_bulk == _rows_or_refusal(content, most)


def _rows_or_refusal(content: bytes, most: int) -> object:
    try:
        return jsonl(content, max_line=most)
    except DatasetError as error:
        return str(error)


def test_most_lines_are_read_in_bulk():
    content = b"".join(b'{"id":%d,"prompt":"x"}\n' % number for number in range(9))
    (sheet,) = reader.sheets("-", format=Format.JSONL, stdin=io.BytesIO(content))
    assert isinstance(sheet, Sheet)
    assert [row.number for row in sheet.rows()] == list(range(1, 10))
