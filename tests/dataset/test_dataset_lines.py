"""Where a line ends; one that is too long costs one row and no memory."""

from __future__ import annotations

import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import bad, cuts, jsonl, law, of, table, values

from batch.dataset.files import BLOCK
from batch.dataset.lines import Ends, lines
from batch.dataset.reader import read
from batch.dataset.rows import Format, Row


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_jsonl_ends_its_lines_with_lf_or_crlf_only(end, last):
    text = '{"a":"x\u2028y\u0085z\v\f"}'.replace("\v", "\\u000b").replace("\f", "\\f")
    rows = jsonl(end.join([text, "", " \t", '{"a":2}']) + (end if last else ""))
    assert values(rows) == [{"a": "x\u2028y\u0085z\v\f"}, {"a": 2}]
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 4)]
    assert isinstance(rows[0], Row)
    assert rows[0].text == text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_and_tables_know_a_bare_cr_too(end):
    text = "x\u2028y\u0085z\v\f"
    assert values(of(end.join([text, "", "b"]), format=Format.TEXT)) == [
        {"text": text},
        {"text": "b"},
    ]
    rows = table(end.join(["h", "", text, "b"]))
    assert values(rows) == [{"h": text}, {"h": "b"}]
    assert [row.line for row in rows] == [3, 4]


def test_a_nul_in_a_text_file_costs_one_row():
    rows = of("a\nb\0\nc", format=Format.TEXT)
    assert bad(rows) == [(2, "contains a NUL character")]
    assert len(rows) == 3


@pytest.mark.parametrize("form", [Format.JSONL, Format.TEXT, Format.CSV])
def test_a_line_that_is_too_long_is_one_bad_row(form):
    good = b'{"a":1}'
    head = [b"a"] if form is Format.CSV else []
    # The line end counts for a record, for it may be part of a field.
    fits = 98 if form is Format.CSV else 100
    content = b"\n".join(
        [*head, good, b"x" * 101, good, b"x" * fits + b"\r", b"y" * 300]
    )
    rows = of(content, format=form, max_line=100)
    first = 1 + len(head)
    found = [(line, why) for line, why in bad(rows) if "not JSON" not in why]
    if form is Format.CSV:
        why = "the record takes more than 100 bytes"
        assert found == [(first + 1, why), (first + 4, why)]
    else:
        assert found == [
            (first + 1, "the line is 101 bytes long; 100 at most"),
            (first + 4, "the line is 300 bytes long; 100 at most"),
        ]
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.fault(51)
def test_a_line_of_fifty_megabytes_is_skipped_in_constant_memory():
    class Long(io.RawIOBase):
        left = 50 * 1024 * 1024

        def readable(self) -> bool:
            return True

        def read(self, amount: int = -1) -> bytes:
            self.left -= amount
            if self.left >= 0:
                return b"x" * amount
            return b'\n{"a":1}\n' if self.left == -amount else b""

    tracemalloc.start()
    try:
        rows = list(read("-", format=Format.JSONL, stdin=Long(), max_line=BLOCK))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bad(rows) == [(1, "the line is 52,428,800 bytes long; 1,048,576 at most")]
    assert isinstance(rows[1], Row)
    assert peak < 8 * BLOCK


@given(st.text(st.sampled_from('a"\r\n\u2028'), max_size=40), st.data())
@law
def test_the_cuts_between_blocks_do_not_matter_for_lines(text, data):
    raw = text.encode()
    blocks = data.draw(cuts(raw))
    for ends in Ends:
        whole = list(lines(iter([raw]), 5, ends))
        assert list(lines(iter(blocks), 5, ends)) == whole
