"""Bytes in, text out, cut anywhere: no sockets here."""

from __future__ import annotations

import codecs


class NotTextError(ValueError):
    """The bytes are not UTF-8 text."""


class TextStream:
    """Decodes UTF-8 that arrives in pieces of any size.

    `feed` returns the text that is complete so far; `finish` says that no more comes.
    Both raise NotTextError for bytes that are not UTF-8, and for NUL, which no answer
    holds and PostgreSQL cannot store.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, data: bytes) -> str:
        return self._decode(data, final=False)

    def finish(self) -> str:
        return self._decode(b"", final=True)

    def _decode(self, data: bytes, *, final: bool) -> str:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise NotTextError(f"not UTF-8: {error.reason}") from None
        if "\0" in text:
            raise NotTextError("a NUL character")
        return text
