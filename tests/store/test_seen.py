from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch.store.seen import Seen


def test_the_first_that_asked_is_remembered():
    with Seen() as seen:
        assert seen.first(b"a") is None
        seen.add({b"a": 1, b"b": 2})
        seen.add({b"a": 3, b"c": 4})
        assert [seen.first(one) for one in (b"a", b"b", b"c", b"d")] == [1, 2, 4, None]


def test_a_name_belongs_to_the_row_that_took_it_first():
    with Seen() as seen:
        assert seen.name({"iron": 1, "gold": 2}) == {}
        assert seen.name({"gold": 3, "tin": 4}) == {"gold": 2}
        assert seen.name({"tin": 5, "iron": 6}) == {"tin": 4, "iron": 1}
        assert seen.name({"lead": 7}) == {}


names = st.dictionaries(
    st.sampled_from(["a", "A", "é", "铁", "", " a"]), st.integers(1)
)


@given(st.lists(names, max_size=5))
def test_it_knows_what_a_dictionary_would_know(pieces):
    known: dict[str, int] = {}
    with Seen() as seen:
        for number, piece in enumerate(pieces):
            rows = {name: number * 10 + place for place, name in enumerate(piece)}
            assert seen.name(rows) == {n: known[n] for n in rows if n in known}
            known = {**rows, **known}
