"""Bytes to text: strictly, in UTF-8 or another encoding that contains ASCII."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from batch.dataset.rows import FaultError

_UTF8_MARK = codecs.BOM_UTF8
_ASCII = bytes(range(128))
# Each trips one kind of codec that maps ASCII to itself but for an escape of its own.
_ESCAPES = b"\\n \\u0041 +AGE- ~{VPND~} x.xn--bcher-kva.x \x1b$B!!\x1b(B"


class Decoder:
    """One encoding; every complaint names the byte and its column."""

    def __init__(self, encoding: str) -> None:
        self.name = _checked(encoding)
        self.is_utf8 = self.name in ("utf-8", "ascii")

    def text(self, raw: bytes) -> str:
        """The text of one line, or UnicodeDecodeError."""
        return raw.decode(self.name)

    def loose(self, raw: bytes) -> str:
        """The text with stand-ins for its bad bytes, to see how a table goes on."""
        return raw.decode(self.name, "replace")

    def complaint(self, raw: bytes, error: UnicodeDecodeError) -> str:
        column = len(raw[: error.start].decode(self.name, "replace")) + 1
        what = f"byte 0x{raw[error.start]:02x} at column {column}"
        if self.is_utf8:
            return f"not UTF-8: {what} (if the file is GBK: --encoding gb18030)"
        return f"not {self.name}: {what}"

    def without_mark(self, head: bytes) -> bytes:
        """The beginning of a file without its byte order mark."""
        if head.startswith(_UTF8_MARK):
            if not self.is_utf8:
                reason = f"begins with the mark of UTF-8, so it is not {self.name}"
                raise FaultError(0, f"{reason}; leave --encoding out")
            return head[len(_UTF8_MARK) :]
        try:
            return head.removeprefix("\ufeff".encode(self.name))
        except UnicodeEncodeError:
            return head

    def as_utf8(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same text in UTF-8; bad bytes stay bad, for the row to complain of."""
        decoder = codecs.getincrementaldecoder(self.name)("surrogateescape")
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogateescape")
        yield decoder.decode(b"", True).encode("utf-8", "surrogateescape")


def _checked(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name.replace("_", "-")
        contains_ascii = all(
            text.decode(encoding) == text.decode("ascii") for text in (_ESCAPES, _ASCII)
        )
    except (LookupError, ValueError):
        name, contains_ascii = encoding, False
    if not contains_ascii:
        known = "utf-8, gb18030, big5, shift_jis, cp1252 or latin-1"
        raise FaultError(0, f"the encoding {encoding!r} cannot be read; try {known}")
    return "utf-8" if name == "utf-8-sig" else name
