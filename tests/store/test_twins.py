from __future__ import annotations

import errno
import hashlib
import tempfile
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import StoreError
from batch.store import twins as room
from batch.store.twins import Twins


def digest(of: object) -> bytes:
    return hashlib.blake2b(str(of).encode(), digest_size=16).digest()


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6),
    st.integers(1, 60),
    st.integers(24, 400),
)
def test_each_request_has_the_first_that_asked_the_same(pieces, first_id, held):
    first: dict[int, int] = {}
    expected = []
    id = 0
    with pytest.MonkeyPatch.context() as patch, closing(Twins()) as twins:
        patch.setattr(room, "HELD", held)
        for piece in pieces:
            noted = []
            for asked in piece:
                id += 1
                noted.append((digest(asked), id))
                leader = first.setdefault(asked, id)
                if leader != id and id >= first_id:
                    expected.append((id, leader))
            twins.note(noted)
        assert sorted(twins.found(first_id)) == expected


def test_digests_that_begin_alike_are_told_apart():
    one, other = b"a" * 15 + b"1", b"a" * 15 + b"2"
    with closing(Twins()) as twins:
        twins.note([(one, 1), (other, 2), (one, 3)])
        assert list(twins.found(1)) == [(3, 1)]


def test_a_full_disk_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "HELD", 0)

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with closing(Twins()) as twins, pytest.raises(StoreError, match="TMPDIR"):
        twins.note([(digest("a"), 1)])
