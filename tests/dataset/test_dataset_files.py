"""A file is known by its content, packed or not, and what cannot be read is told."""

from __future__ import annotations

import errno
import gzip
import io
import os

import pytest
from reading import bad, jsonl, refusal, until_fault, values

from batch.dataset.files import BLOCK, size
from batch.dataset.reader import read
from batch.dataset.rows import Format, Row
from batch.errors import DatasetError


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
