"""A table is a header and records; a bad one is named by the line it begins on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import bad, law, of, refusal, table, values

from batch.dataset.files import BLOCK
from batch.dataset.rows import BadRow, Format, Row

STRAY = "a stray line end (CR or LF) in a field without quotes"


def test_a_table_has_a_header_and_strings():
    rows = table('id, name ,q\n1,"a, ""b""",\n\n  \n 2 ,"x\ny",z\n')
    assert values(rows) == [
        {"id": "1", "name": 'a, "b"', "q": ""},
        {"id": " 2 ", "name": "x\ny", "q": "z"},
    ]
    assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 5)]
    assert isinstance(rows[1], Row)
    assert rows[1].text == '{"id":" 2 ","name":"x\\ny","q":"z"}'


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("a;b\n1,5;2\n", Format.CSV),
        ("a\tb\n1,5\t2\n", Format.CSV),
        ("a\tb\n1,5\t2\n", Format.TSV),
        ('a,b\n"1,5",2\n', Format.CSV),
        ('\n\na,b\n"1,5",2\n', Format.CSV),
    ],
)
def test_the_delimiter_is_the_one_that_the_header_uses(content, form):
    assert values(of(content, format=form)) == [{"a": "1,5", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b,c\n1,2,3,4\n5,6,7\n", [(2, "4 fields where the header has 3")]),
        ("a,b\n1\n5,6\n", [(2, "1 field where the header has 2")]),
        (
            'a,b\n1,"x\ny"\n2,"x\ny",3\n5,6\n',
            [(4, "3 fields where the header has 2 (lines 4 to 5)")],
        ),
        (
            'a,b\n1,2\n3,"4\n5,6\n',
            [(3, "a quoted field begins here and never ends (lines 3 to 4)")],
        ),
        ('a,b\n1,2\n3,"4', [(3, "a quoted field begins here and never ends")]),
        (
            'a,b\n1,"x" y\n5,6\n',
            [(2, "a quote inside a quoted field must be doubled")],
        ),
        (
            b"a,b\n1,\xff\n5,6\n",
            [(2, "not UTF-8: byte 0xff at column 3 (if the file is GBK: --encoding"
                 " gb18030)")],
        ),
        (
            b'a,b\n1,"x\xff\ny"\n5,6\n',
            [(2, "not UTF-8: byte 0xff at column 5 (if the file is GBK: --encoding"
                 " gb18030)")],
        ),
        ("a,b\n1,\r0\n5,6\n", [(2, STRAY)]),
        ("a,b\r1,x\ny\r5,6\r", [(2, STRAY)]),
        ("a,b\n1,\0\n5,6\n", [(2, "contains a NUL character")]),
    ],
)  # fmt: skip
def test_a_bad_record_is_named_by_the_line_it_begins_on(content, expected):
    rows = table(content)
    assert bad(rows) == expected
    assert len(rows) > len(expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b,a,c,c\n1,2,3,4,5\n", "<stdin>:1: the header has 'a', 'c' more than once"),
        ("\n\na,,b\n1,2,3\n", "<stdin>:3: the header has no name for column 2"),
        ("a,b, \n1,2,3\n", "<stdin>:1: the header has no name for column 3"),
        (b"a,\xff\n1,2\n", "<stdin>:1: the header: not UTF-8: byte 0xff at column 3"),
        ('a,"b\n1,2\n', "<stdin>:1: the header: a quoted field begins here"),
    ],
)
def test_a_header_that_is_none_refuses_the_table(content, reason):
    assert refusal(content, format=Format.CSV).startswith(reason)


def test_a_field_may_be_longer_than_the_csv_module_likes():
    assert values(table("a\n" + "x" * 200_000)) == [{"a": "x" * 200_000}]


def test_a_quoted_field_that_is_too_long_is_skipped_to_its_end():
    body = 'x ""y"",1\n' * 50
    rows = table(f'a,b\n1,"{body}"\n3,4\n5,"z"\n', max_line=100)
    reason = "the record takes more than 100 bytes (lines 2 to 52)"
    assert bad(rows) == [(2, reason)]
    assert [row.values for row in rows if isinstance(row, Row)] == [
        {"a": "3", "b": "4"},
        {"a": "5", "b": "z"},
    ]


def test_a_quote_that_never_closes_costs_no_memory():
    content = b'a,b\n1,"x\n' + (b"2," + b"y" * 1000 + b"\n") * 50_000
    tracemalloc.start()
    try:
        (row,) = table(content, max_line=BLOCK)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(row, BadRow)
    assert (row.line, row.reason[-24:]) == (2, "bytes (lines 2 to 50002)")
    assert peak < 12 * BLOCK


cells = st.text(
    st.sampled_from("ab ,;\t\"'\r\n铁\u2028\v")
    | st.characters(exclude_categories=["Cs"]),
    max_size=8,
).filter(lambda cell: "\0" not in cell)


@given(
    st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Format.CSV, Format.TSV]),
)
@law
def test_what_the_csv_module_wrote_comes_back(records, end, mark, packed, form):
    text = io.StringIO(newline="")
    delimiter = "," if form is Format.CSV else "\t"
    # Python 3.11 quotes a cell with \r or \n only if the lines end so.
    has_ends = any("\r" in cell or "\n" in cell for cell in chain(*records))
    quoting = csv.QUOTE_ALL if has_ends else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["id", "名称"])
    writer.writerows(records)
    raw = text.getvalue().encode("utf-8-sig" if mark else "utf-8")
    got = of(gzip.compress(raw) if packed else raw, format=form)
    assert values(got) == [dict(zip(["id", "名称"], r, strict=True)) for r in records]
    for row in got:
        assert isinstance(row, Row)
        assert json.loads(row.text) == row.values
