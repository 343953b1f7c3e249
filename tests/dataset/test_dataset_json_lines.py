"""A line of JSON is a row as it stands, or is named as bad and costs no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import bad, json_rows, json_styles, jsonl, law, values

from batch.core.rendering import Renderer
from batch.core.template import Template
from batch.dataset.reader import read
from batch.dataset.rows import BadRow, Row


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "a list, where an object is expected"),
        (b'"x"', "a text, where an object is expected"),
        (b"12", "a number, where an object is expected"),
        (b"null", "null, where an object is expected"),
        (b"true", "true or false, where an object is expected"),
        (b'{"a":1', "not JSON: unexpected end of data (column 7)"),
        (b'{"a":1} x', "not JSON: unexpected content after document (column 9)"),
        ('{"é":x'.encode(), "not JSON: unexpected character, expected a JSON value"),
        (b'{"a": NaN}', "NaN and Infinity are not JSON (column 7)"),
        (b'{"a": -Infinity}', "NaN and Infinity are not JSON (column 8)"),
        (b'{"a": 1e999}', "a number is too large (column 7)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number is too large (column 7)"),
        (b'{"a": "\\ud800"}', "a lone surrogate (half of a \\u pair) (column 8)"),
        (b'{"a": "\\udc00x"}', "a lone surrogate"),
        (b"[" * 100_000, "nested too deeply (column 1026)"),
        (b'{"a":' * 1100 + b"1" + b"}" * 1100, "nested too deeply (column 5122)"),
        (b'{"a":"x\x00"}', "contains a NUL character (column 8)"),
        (b'{"a":"x\\u0000"}', "contains a NUL character (\\u0000)"),
        (b'{"\\u0000":1}', "contains a NUL character (\\u0000)"),
        (b'{"a":[{"b":"\\u0000"}]}', "contains a NUL character (\\u0000)"),
        (b'{"a":1,"a":2}', "the key 'a' stands twice"),
        (b'{"a":1,"b":{"c":1,"c":1}}', "the key 'c' stands twice"),
        (b'{"a":1,"\\u0061":2}', "the key 'a' stands twice"),
        (b'{"a" :1,"a":2}', "the key 'a' stands twice"),
        (b'{"a"\t:1,"a":2,"u":"x:\\":"}', "the key 'a' stands twice"),
        (b'{"a":"\xff"}', "not UTF-8: byte 0xff at column 7 (if the file is GBK: "),
        (
            "{'a':'é".encode() + b"\xc3'}",
            "not UTF-8: byte 0xc3 at column 8 (if the file is GBK: --encoding gb18030)",
        ),
    ],
)
@pytest.mark.fault(51)
def test_a_bad_line_is_named_and_costs_no_other(line, reason):
    rows = jsonl(b'{"n":1}\n' + line + b'\n{"n":2}\n')
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 2), (3, 3)]
    ((where, why),) = bad(rows)
    assert where == 2
    assert why.startswith(reason)


@pytest.mark.parametrize(
    "line",
    [
        '{"a":"\\\\u0000"}',
        '{"a":"x:y \\":","b":{"c":"d:"}}',
        '{"a" : 1, "b"\t:{"a" :2}}',
        '{"a":[1,{"b":[2,{"b":3}]}],"b":"{\\"b\\":1}"}',
        '{"😀":"\\ud83d\\ude00"}',
        ' {"a":1.5e3}\t',
        '{"a":' * 500 + "1" + "}" * 500,
    ],
)
def test_what_only_looks_suspicious_is_a_row(line):
    (row,) = jsonl(line)
    assert isinstance(row, Row)
    assert (row.values, row.text) == (json.loads(line), line)


def test_a_suspicious_row_may_be_too_deep_for_a_second_look():
    deep = '{"a":' * 1000 + "1" + "}" * 1000
    (row,) = jsonl('{"u" :1,"a":' + deep + "}")
    # How deep the json module goes depends on the version of Python.
    assert isinstance(row, Row) or row.reason == "nested too deeply"


@pytest.mark.parametrize(
    "number",
    [2**53 + 1, 2**63 - 1, -(2**63) - 1, 2**64 - 1, 2**64, -(2**64), 10**300 + 7],
)
def test_integers_keep_their_digits(number):
    (row,) = jsonl(f'{{"a":[{number}],"b":1.5}}')
    assert isinstance(row, Row)
    assert row.values == {"a": [number], "b": 1.5}
    assert type(row.values["a"][0]) is int
    asked = Renderer(Template(prompt="{{ a[0] }}")).render(row.values, 1).messages
    assert asked[0]["content"] == str(number)


@given(json_rows, json_styles)
@law
def test_any_row_written_by_the_json_module_comes_back(rows, style):
    written = [json.dumps(row, **style) for row in rows]
    got = jsonl("\n".join(written))
    assert values(got) == rows
    assert [row.text for row in got if isinstance(row, Row)] == written


@given(
    json_rows,
    st.integers(0, 5),
    st.sampled_from(
        [b"\xff", b"\0", b"{", b"]", b'"', b"x", b"\x80", b",", b"\\", b"\xed\xa0\x80"]
    ),
    st.data(),
)
@law
@pytest.mark.fault(51)
@pytest.mark.long
def test_mutating_one_line_makes_that_line_bad_and_loses_no_other(
    rows, index, rubbish, data
):
    written = [json.dumps(row).encode() for row in rows]
    index %= len(rows)
    # Not the first line: a whole file can become UTF-16 by one NUL.
    rows, written, index = [{}, *rows], [b"{}", *written], index + 1
    # Twice, for in the middle it may fall where JSON allows it.
    place = data.draw(st.integers(0, len(written[index])))
    line = written[index][:place] + rubbish + written[index][place:] + rubbish
    mutated = [*written[:index], line, *written[index + 1 :]]
    got = jsonl(b"\n".join(mutated))
    assert [row.line for row in got] == list(range(1, len(rows) + 1))
    assert [line for line, _ in bad(got)] == [index + 1]
    assert [row.values for row in got if isinstance(row, Row)] == [
        row for at, row in enumerate(rows) if at != index
    ]


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON in which keys may stand twice, with space wherever there may be some."""
    blanks = st.sampled_from(["", "", " ", "\t", "  "])
    leaves = st.sampled_from(["1", '"a:\\":"', '"http://x"', '"a" ', "[]", "2.5e3"])
    inner = leaves | objects(depth - 1) if depth else leaves
    pairs = [
        f"{draw(blanks)}{draw(st.sampled_from(KEYS))}{draw(blanks)}:{draw(inner)}"
        for _ in range(draw(st.integers(0, 3)))
    ]
    return "{" + ",".join(pairs) + "}"


KEYS = ['"a"', '"b"', '"\\u0061"', '"c:"', '"d\\":"']


@given(objects())
@law
def test_a_key_that_stands_twice_is_always_found(text):
    twice = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        twice.extend([1] if len({key for key, _ in pairs}) < len(pairs) else [])

    json.loads(text, object_pairs_hook=note)
    (row,) = jsonl(text)
    assert isinstance(row, BadRow) == bool(twice)


def test_a_file_of_every_kind_of_row_is_rendered(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt":"x"}\n{"id":7,"name":"iron"}\n', encoding="utf-8")
    renderer = Renderer(Template(prompt="Say {{ name }}"))
    asked = [
        renderer.render(row.values, row.number)
        for row in read(str(path))
        if isinstance(row, Row)
    ]
    assert [(r.custom_id, r.messages[0]["content"]) for r in asked] == [
        ("1", "x"),
        ("7", "Say iron"),
    ]
