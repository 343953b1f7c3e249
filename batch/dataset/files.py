"""A file, a pipe or a gzip of one as blocks of bytes, and what they look like."""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import BinaryIO

from batch.dataset.rows import FaultError, Format

BLOCK = 1024 * 1024
STDIN = "-"
#: The longest mark that is looked for.
_ENOUGH = 8
#: How far leading blank space is searched for the first character.
_MOST_BLANK = 64 * 1024

_GZIP = b"\x1f\x8b"
_EXTENSIONS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".json": Format.JSON,
    ".txt": Format.TEXT,
}
# UTF-32 first: its mark begins with that of UTF-16.
_STRANGERS = {
    b"\xff\xfe\0\0": "is UTF-32; save it as UTF-8",
    b"\0\0\xfe\xff": "is UTF-32; save it as UTF-8",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"PK\x03\x04": "is a zip file or an Excel workbook; save it as CSV",
    b"%PDF-": "is a PDF",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; only gzip is understood",
    b"\xfd7zXZ\0": "is compressed with xz; only gzip is understood",
}


#: Where the zeros of UTF-16 without a mark stand.
_UTF16 = ([False, True, False, True], [True, False, True, False])


def name_of(path: str) -> str:
    """The source as it is called in complaints."""
    if path == STDIN:
        return "<stdin>"
    return path.encode(errors="replace").decode()


def size(path: str) -> int | None:
    """The bytes of a file, as `on_bytes` counts them; None where nobody knows."""
    if path == STDIN:
        return None
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def opened(path: str, stdin: BinaryIO | None) -> AbstractContextManager[BinaryIO]:
    if path == STDIN:
        return nullcontext(stdin if stdin is not None else sys.stdin.buffer)
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FaultError(0, "there is no such file") from None
    except IsADirectoryError:
        raise FaultError(0, "is a directory; name the files in it") from None
    except ValueError as error:
        raise FaultError(0, str(error)) from None


def blocks(
    stream: BinaryIO, on_bytes: Callable[[int], None] | None = None
) -> Iterator[bytes]:
    """The content, unpacked if it is gzip."""
    raw = _counted(stream, on_bytes)
    head = b""
    while len(head) < len(_GZIP) and (block := next(raw, b"")):
        head += block
    raw = chain([head], raw)
    return _gunzipped(raw) if head.startswith(_GZIP) else raw


def _counted(
    stream: BinaryIO, on_bytes: Callable[[int], None] | None
) -> Iterator[bytes]:
    position = 0
    while block := stream.read(BLOCK):
        position += len(block)
        yield block
        if on_bytes is not None:
            on_bytes(position)


def _gunzipped(raw: Iterator[bytes]) -> Iterator[bytes]:
    # Not the gzip module: at a cut it throws away what it had unpacked before.
    member = None
    for block in raw:
        while block:
            if member is None:
                block = block.lstrip(b"\0")  # padding between members is legal
                if not block:
                    break
                member = zlib.decompressobj(wbits=31)
            try:
                content = member.decompress(block, BLOCK)
            except zlib.error:
                raise FaultError(0, "the gzip data are damaged from here on") from None
            if content:
                yield content
            block = member.unconsumed_tail
            if member.eof:
                block = member.unused_data
                member = None
    if member is not None:
        raise FaultError(0, "the gzip data end too early: the file was cut off")


def first_block(content: Iterator[bytes]) -> bytes:
    """The beginning, at least as far as the first character that is not blank."""
    head = b""
    for block in content:
        head += block
        if len(head) >= _ENOUGH and (head.strip() or len(head) > _MOST_BLANK):
            break
    return head


def check_head(head: bytes) -> None:
    """Refuse what is plainly no text that can be read here."""
    for mark, what in _STRANGERS.items():
        if head.startswith(mark):
            raise FaultError(0, what)
    if [byte == 0 for byte in head[:4]] in _UTF16:
        raise FaultError(0, "looks like UTF-16 or a binary file; save it as UTF-8")


def format_of(path: str, head: bytes, format: Format | None) -> Format:
    """The format as it was said, else by the file's name, else by how it begins."""
    name = path.lower().removesuffix(".gz")
    named = format or _EXTENSIONS.get(os.path.splitext(name)[1])
    begin = head.lstrip()[:1]
    if begin == b"{" and named in (None, Format.JSON):
        return Format.JSONL
    if named is not None:
        return named
    if begin == b"[":
        return Format.JSON
    if not begin:
        raise FaultError(0, "no rows")
    ask = "say --format csv, tsv, jsonl, json or text"
    raise FaultError(0, f"it cannot be told what this is: {ask}")
