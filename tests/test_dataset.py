from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import tracemalloc
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.rendering import Renderer
from batch.core.template import Template
from batch.dataset import files, reader, sheets
from batch.dataset.arrays import elements
from batch.dataset.files import BLOCK, size
from batch.dataset.lines import Ends, lines
from batch.dataset.reader import read
from batch.dataset.rows import BadRow, FaultError, Format, Row, Sheet
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


# Files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"a": "1"}\n'),
        ("a.NDJSON", b'{"a": "1"}\n'),
        ("a.csv", b"a\n1\n"),
        ("a.tsv", b"a\n1\n"),
        ("a.json", b'[{"a": "1"}]'),
        ("a.json", b' {"a": "1"}\n'),
        ("noname", b'{"a": "1"}'),
        ("noname", b'\n\n [{"a": "1"}]'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_read_for_what_it_is(tmp_path, name, content, packed, mark):
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(mark + content) if packed else mark + content)
    assert values(list(read(str(path)))) == [{"a": "1"}]


def test_gzip_is_known_by_its_content_alone(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"a":1}'))
    (tmp_path / "b.jsonl.gz").write_bytes(b'{"a":1}')
    for name in ("a.jsonl", "b.jsonl.gz"):
        assert values(list(read(str(tmp_path / name)))) == [{"a": 1}]


def test_gzip_members_follow_each_other():
    packed = gzip.compress(b'{"a":1}\n{"a"') + gzip.compress(b":2}\n") + b"\0" * 9
    assert values(jsonl(packed)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("cut", [1, 8, 9, 200, 2000])
def test_a_cut_gzip_gives_its_whole_rows_and_then_the_fault(cut):
    content = b"".join(
        b'{"a":"%s"}\n' % os.urandom(9).hex().encode() for _ in range(500)
    )
    packed = gzip.compress(content)
    assert len(packed) > 4000
    rows, error = until_fault(packed[:-cut], Format.JSONL)
    assert "cut off" in str(error)
    texts = [row.text.encode() for row in rows if isinstance(row, Row)]
    assert texts == content.split(b"\n")[: len(rows)]
    assert error.problems[0].line == len(rows)
    assert len(rows) == 500 if cut <= 8 else len(rows) > 200


def test_a_damaged_gzip_is_told():
    packed = bytearray(gzip.compress(os.urandom(9999).hex().encode()))
    packed[-6] ^= 1
    assert "damaged" in refusal(bytes(packed), format=Format.TEXT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "<stdin>: no rows"),
        (b"\n \r\n", "<stdin>: no rows"),
        (b"a,b\n1,2\n", "<stdin>: it cannot be told what this is: say --format csv"),
        ("[{}]".encode("utf-16"), "<stdin>: is UTF-16; save it as UTF-8"),
        ("[{}]".encode("utf-32"), "<stdin>: is UTF-32; save it as UTF-8"),
        ("[{}]".encode("utf-16-le"), "<stdin>: looks like UTF-16 or a binary file"),
        (b"PK\x03\x04....", "<stdin>: is a zip file or an Excel workbook"),
        (gzip.compress(b"", mtime=0), "<stdin>: no rows"),
    ],
)
def test_what_cannot_be_read_at_all_is_told(content, reason):
    assert refusal(content).startswith(reason)


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_no_rows_is_an_error_in_every_format(form, content):
    assert "no rows" in refusal(content, format=form) or form is Format.JSON


@pytest.mark.parametrize(
    ("content", "form"),
    [(b"a,b\n", Format.CSV), (b"[ ]", Format.JSON), (b"a\n\n\n", Format.TSV)],
)
def test_a_file_with_nothing_but_a_frame_has_no_rows(content, form):
    assert refusal(content, format=form) == "<stdin>: no rows"


def test_a_file_of_bad_rows_is_no_empty_file():
    assert bad(jsonl("x\n")) == [
        (1, "not JSON: unexpected character, expected a JSON value (column 1)")
    ]


def test_missing_files_and_directories_are_told(tmp_path):
    cases = {
        tmp_path / "no.jsonl": "there is no such file",
        tmp_path: "is a directory; name the files in it",
        tmp_path / "a\0b": "embedded null byte",
    }
    for path, reason in cases.items():
        with pytest.raises(DatasetError) as error:
            next(read(str(path)))
        assert str(error.value) == f"{path}: {reason}"


def test_a_disk_that_fails_is_told():
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(DatasetError, match="<stdin>: input/output error"):
        next(read("-", stdin=Broken()))


def test_the_file_is_closed_when_the_reader_is_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n' * 3)
    rows = read(str(path))
    next(rows)
    rows.close()  # an open file would be a ResourceWarning, which is an error


def test_progress_is_told_in_bytes_of_the_file_as_it_lies(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    noise = os.urandom(BLOCK * 2).hex().encode()
    path.write_bytes(gzip.compress(b'{"a":"%s"}\n{"a":1}\n' % noise))
    heard: list[int] = []
    assert len(list(read(str(path), on_bytes=heard.append))) == 2
    assert len(heard) > 1
    assert heard == sorted(heard)
    assert heard[-1] == size(str(path)) == path.stat().st_size


def test_only_a_regular_file_has_a_size(tmp_path):
    assert size("-") is None
    assert size(str(tmp_path)) is None
    assert size(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    "encoding",
    [
        *["utf-16", "utf-7", "hz", "iso2022_jp", "cp037", "idna", "unicode_escape"],
        *["raw_unicode_escape", "base64", "rot13", "punycode", "nope", "", "a\0b"],
    ],
)
def test_an_encoding_without_ascii_in_it_is_refused(encoding):
    got = refusal(b'{"a":1}', encoding=encoding)
    assert f"the encoding {encoding!r} cannot be read" in got


# Lines


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


@st.composite
def cuts(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    edges = [0, *places, len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


# JSON objects


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


def test_a_row_is_one_line_of_text():
    (row,) = array('[{\n  "a": "x \\n y",\r\n\t"b" :\n [1,\n 2]\r}\n]')
    assert isinstance(row, Row)
    assert row.text == '{"a": "x \\n y","b" :[1,2]}'
    assert json.loads(row.text) == row.values


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


@given(objects())
@law
def test_a_key_that_stands_twice_is_always_found(text):
    twice = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        twice.extend([1] if len({key for key, _ in pairs}) < len(pairs) else [])

    json.loads(text, object_pairs_hook=note)
    (row,) = jsonl(text)
    assert isinstance(row, BadRow) == bool(twice)


# JSON arrays


@given(json_rows, json_styles, st.sampled_from([None, 1, "\t"]), st.data())
@law
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


# Tables

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


# Encodings

CHINESE = "铁，金属；\\\"俘{}[],虎'".replace('"', "")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk", "big5", "shift_jis"])
@pytest.mark.parametrize("form", list(Format))
def test_other_encodings_are_read_in_every_format(form, encoding):
    # In the East Asian ones, the second byte of a character may be \, [, { or |.
    text = "功許表ソ能十予" if encoding in ("big5", "shift_jis") else CHINESE
    text = text.encode(encoding, "ignore").decode(encoding)
    row = {"text": text, "b": "1"}
    match form:
        case Format.JSONL:
            content = json.dumps(row, ensure_ascii=False) + "\n"
        case Format.JSON:
            content = json.dumps([row], ensure_ascii=False, indent=1)
        case Format.TEXT:
            row, content = {"text": text}, text
        case _:
            comma = "," if form is Format.CSV else "\t"
            content = f'text{comma}b\n"{text}"{comma}1\n'
    got = of(content.encode(encoding), format=form, encoding=encoding)
    assert values(got) == [row]
    assert isinstance(got[0], Row)
    assert json.loads(got[0].text) == row


@pytest.mark.parametrize("form", [Format.JSONL, Format.CSV, Format.TEXT])
def test_a_byte_that_the_encoding_does_not_know_is_named(form):
    head = b"text\n" if form is Format.CSV else b""
    good = '{"a":"铁"}'.encode("gb18030") if form is Format.JSONL else b"x"
    content = head + b"\n".join([good, b"\xcc\xfa \xff", good])
    rows = of(content, format=form, encoding="gb18030")
    assert bad(rows) == [(2 + len(head[:1]), "not gb18030: byte 0xff at column 3")]
    assert len(rows) == 3


def test_a_bad_byte_in_an_array_costs_one_row():
    content = '[{"a":"铁"},\n{"a":"X"},\n{"a":"铁"}]'.encode("gb18030")
    rows = array(content.replace(b"X", b"\xff"), encoding="gb18030")
    assert len(rows) == 3
    assert [line for line, _ in bad(rows)] == [2]


def test_the_mark_of_the_encoding_is_no_text():
    assert values(jsonl('\ufeff{"a":1}'.encode("gb18030"), encoding="gb18030"))
    assert values(jsonl('\ufeff{"a":1}', encoding="utf-8-sig")) == [{"a": 1}]
    got = refusal('\ufeff{"a":1}', encoding="gb18030")
    assert "so it is not gb18030; leave --encoding out" in got


# On the way to a request


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
