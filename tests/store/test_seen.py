from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch.store.seen import Seen


def digest(of: str) -> bytes:
    return of.encode().ljust(16, b".")


def test_the_first_that_asked_is_remembered():
    a, b, c, d = map(digest, "abcd")
    with Seen() as seen:
        assert seen.take({a: 1, b: 2}) == {}
        assert seen.take({a: 3, c: 4}) == {a: 1}
        assert seen.take(dict.fromkeys((a, b, c, d), 9)) == {a: 1, b: 2, c: 4}


def test_of_two_digests_with_one_half_in_common_neither_is_taken_for_the_other():
    one, other = b"the same" + b"not this", b"the same" + b"nor that"
    with Seen() as seen:
        assert seen.take({one: 1}) == {}
        assert seen.take({other: 2}) == {}
        assert seen.take({other: 3, one: 4}) == {one: 1}


def test_what_was_not_queued_after_all_is_forgotten():
    with Seen() as seen:
        seen.take({digest("a"): 1, digest("b"): 2, digest("c"): 3})
        seen.forget(2)
        assert seen.take({digest("a"): 7, digest("b"): 8}) == {digest("a"): 1}


def test_more_is_taken_at_a_time_than_one_statement_holds():
    many = {digest(f"{number}"): number for number in range(1, 1001)}
    with Seen() as seen:
        assert seen.take(many) == {}
        assert seen.take({one: 5000 + id for one, id in many.items()}) == many


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
