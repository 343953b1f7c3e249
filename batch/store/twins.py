"""Which requests ask what an earlier one asks: found out on disk, at the end.

Digests are sorted into drawers by their first byte, and each drawer is looked through
by itself: millions of rows are told apart in the memory of some thousands.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import accumulate

from batch.core.asked import SIZE
from batch.errors import StoreError

DRAWERS = 256
#: What is held in memory before it is put away, bytes.
HELD = 1024 * 1024

_id = struct.Struct("<q").pack
_WIDTH = SIZE + 8


class Twins:
    """The requests of one submission, by what they ask; those before it too."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (`close` does)
        self._open = [bytearray() for _ in range(DRAWERS)]
        #: Where each drawer's part begins, and the last one's ends, each time.
        self._put_away: list[list[int]] = []

    def close(self) -> None:
        """Let go of what is on disk."""
        self._file.close()

    def note(self, asked: Iterable[tuple[bytes, int]]) -> None:
        """These digests are asked by these requests; ids come in their order."""
        drawers = self._open
        for digest, id in asked:
            drawers[digest[0]] += digest + _id(id)
        if sum(map(len, drawers)) > HELD:
            self._put_all_away()

    def found(self, first_id: int) -> Iterator[tuple[int, int]]:
        """Requests from this one on, each with an earlier one that asks the same."""
        for drawer in range(DRAWERS):
            data = self._drawer(drawer)
            starts = range(0, len(data), _WIDTH)
            digests = [data[start : start + SIZE] for start in starts]
            if len(set(digests)) == len(digests):
                continue
            first: dict[bytes, int] = {}
            for start, digest in zip(starts, digests, strict=True):
                id = int.from_bytes(data[start + SIZE : start + _WIDTH], "little")
                leader = first.setdefault(digest, id)
                if leader != id and id >= first_id:
                    yield id, leader

    def _put_all_away(self) -> None:
        sizes = map(len, self._open)
        begin = self._put_away[-1][-1] if self._put_away else 0
        self._put_away.append(list(accumulate(sizes, initial=begin)))
        try:
            self._file.write(b"".join(self._open))
        except OSError as error:
            raise StoreError(
                f"{tempfile.gettempdir()} cannot be written: {error.strerror}; "
                "TMPDIR names another folder for what a submission notes"
            ) from None
        self._open = [bytearray() for _ in range(DRAWERS)]

    def _drawer(self, drawer: int) -> bytes:
        pieces = []
        for parts in self._put_away:
            self._file.seek(parts[drawer])
            pieces.append(self._file.read(parts[drawer + 1] - parts[drawer]))
        return b"".join([*pieces, self._open[drawer]])
