"""An encoding that is named is read in every format, or refused."""

from __future__ import annotations

import json

import pytest
from reading import array, bad, jsonl, of, refusal, values

from batch.dataset.rows import Format, Row

CHINESE = "铁，金属；\\\"俘{}[],虎'".replace('"', "")


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
