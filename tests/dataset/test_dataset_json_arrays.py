"""A JSON array is read element by element, wherever it is cut and whatever is in it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import array, bad, cuts, json_rows, json_styles, law, until_fault, values

from batch.dataset.arrays import elements
from batch.dataset.files import BLOCK
from batch.dataset.rows import FaultError, Format, Row
from batch.errors import DatasetError


def test_a_row_is_one_line_of_text():
    (row,) = array('[{\n  "a": "x \\n y",\r\n\t"b" :\n [1,\n 2]\r}\n]')
    assert isinstance(row, Row)
    assert row.text == '{"a": "x \\n y","b" :[1,2]}'
    assert json.loads(row.text) == row.values


@given(json_rows, json_styles, st.sampled_from([None, 1, "\t"]), st.data())
@law
@pytest.mark.long
def test_the_cuts_between_blocks_do_not_matter_for_an_array(rows, style, indent, data):
    raw = json.dumps(rows, **style, indent=indent).encode()
    whole = list(elements(iter([raw]), 1 << 20))
    assert [json.loads(element.raw or b"") for element in whole] == rows
    assert list(elements(iter(data.draw(cuts(raw))), 1 << 20)) == whole
    single = (raw[at : at + 1] for at in range(len(raw)))
    assert list(elements(single, 1 << 20)) == whole
    assert values(array(raw)) == rows


def to_the_end(blocks: Iterator[bytes]) -> list[Any]:
    found: list[Any] = []
    try:
        for element in elements(blocks, 8):
            found.append(element)
    except FaultError as fault:
        found.append((fault.line, fault.reason))
    return found


@given(st.text(st.sampled_from('[]{},"\\ a1\n'), max_size=30), st.data())
@law
def test_the_cuts_do_not_matter_for_rubbish_either(text, data):
    raw = b"[" + text.encode()
    whole = to_the_end(iter([raw]))
    assert to_the_end(iter(data.draw(cuts(raw)))) == whole
    assert to_the_end(raw[at : at + 1] for at in range(len(raw))) == whole


@given(json_rows, st.data())
@law
@pytest.mark.long
def test_an_array_that_is_cut_off_is_never_taken_for_whole(rows, data):
    raw = json.dumps(rows).encode()
    cut = data.draw(st.integers(1, len(raw) - 1))
    got, _ = until_fault(raw[:cut], Format.JSON)
    assert values(got) == rows[: len(got)]


def test_every_element_knows_the_line_it_begins_on():
    rows = array('\n[\n{"a":\n1}, {"a":2}\n,\n\n{"a":3,"a":4}, 5,\n"x,]",{"a":\nx}]\n')
    assert [(row.number, row.line) for row in rows] == [
        (1, 3), (2, 4), (3, 7), (4, 7), (5, 8), (6, 8),
    ]  # fmt: skip
    assert bad(rows) == [
        (7, "the key 'a' stands twice"),
        (7, "a number, where an object is expected"),
        (8, "a text, where an object is expected"),
        (8, "not JSON: unexpected character, expected a JSON value (line 9)"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ('[{"a":1}\n{"a":2},{"a":3}]', 2, "a comma is missing before this row"),
        ('[{"a":1},\n,{"a":2}]', 2, "no row before this comma"),
        ('[,\n{"a":1}]', 1, "no row before this comma"),
        ('[{"a":1},\n]', 2, "no row between ',' and ']'"),
        ('[{"a":1},\n{"a":2]]', 2, "not JSON: unexpected character, expected ',' or"),
        ('[{"a":1},\n}]', 2, "not JSON: unexpected character"),
        ('[{"a":1},\nhello {"a":[1,"}"]} "," x]', 2, "not JSON: unexpected character"),
        ('[{"a":1},\n"\xff"]', 2, "a text, where"),
        (
            '[{"a":1},\n{"a":"' + "x" * 100 + '"}]',
            2,
            "the row is 108 bytes long; 60 at",
        ),
    ],
)
def test_a_fault_between_elements_is_a_bad_row(content, line, reason):
    rows = array(content, max_line=60)
    ((where, why),) = bad(rows)
    assert where == line
    assert why.startswith(reason)
    assert any(isinstance(row, Row) for row in rows)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("hello", 1, "no JSON array: it does not begin with '['"),
        ('[{"a":1},\n{"a":2}\n', 3, "the array is cut off: its closing ']' is missing"),
        ('[{"a":1},\n{"a":2', 2, "the row that begins here never ends"),
        ('[{"a":1},\n{"a":"2}]', 2, "the row that begins here never ends"),
        ('[{"a":1}\n]\n[]', 3, "there is something after the closing ']'"),
    ],
)
def test_a_fault_of_the_array_ends_it(content, line, reason):
    with pytest.raises(DatasetError) as error:
        array(content)
    (problem,) = error.value.problems
    assert (problem.line, problem.reason) == (line, reason)


def test_a_huge_element_is_skipped_in_constant_memory():
    def blocks() -> Iterator[bytes]:
        yield b'[{"a":"'
        for _ in range(40):
            yield b'\\"]x\n' * (BLOCK // 5)
        yield b'"},{"a":1}]'

    tracemalloc.start()
    try:
        first, second = elements(blocks(), BLOCK)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.raw, first.line) == (None, 1)
    assert first.size == 40 * (BLOCK // 5) * 5 + 8
    assert (second.raw, second.line) == (b'{"a":1}', 1 + 40 * (BLOCK // 5))
    assert peak < 8 * BLOCK
