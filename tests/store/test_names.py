from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.store import names as room
from batch.store.names import Names


def test_a_name_belongs_to_the_row_that_took_it_first():
    with closing(Names()) as names:
        assert names.take({"iron": 1, "gold": 2}) == {}
        assert names.take({"gold": 3, "tin": 4}) == {"gold": 2}
        assert names.take({"tin": 5, "iron": 6}) == {"tin": 4, "iron": 1}
        assert names.take({"lead": 7}) == {}


def test_more_are_taken_at_a_time_than_one_statement_holds(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(room, "AT_ONCE", 3)
    many = {f"row-{number}": number for number in range(10)}
    with closing(Names()) as names:
        assert names.take(many) == {}
        assert names.take({name: 100 + row for name, row in many.items()}) == many


pieces_of_names = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "A", "é", "铁", "", " a"]), st.integers(1), max_size=6
    ),
    max_size=5,
)


@given(pieces_of_names)
def test_it_knows_what_a_dictionary_would_know(pieces):
    known: dict[str, int] = {}
    with closing(Names()) as names:
        for number, piece in enumerate(pieces):
            rows = {name: number * 10 + place for place, name in enumerate(piece)}
            assert names.take(rows) == {n: known[n] for n in rows if n in known}
            known = {**rows, **known}
