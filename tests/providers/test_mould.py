from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from chatting import DONE, decoded
from hypothesis import given
from hypothesis import strategies as st

from batch.core.model import Completion
from batch.providers.mould import BARE, MOULDS, Moulds, Usual, own_of, usual


def chunk(piece: str | None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Without a piece, its delta is empty."""
    delta = {} if piece is None else {"content": piece}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "choices": [choice],
        **more,
    }


def compact(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))


def learned(*chunks: str) -> Moulds:
    made = Moulds()
    for data in chunks:
        said = usual(json.loads(data))
        assert said is not None
        own = own_of(data)
        made.learn(own, data.removeprefix(own), said)
    return made


def read(moulds: Moulds, data: str) -> Usual | None:
    return moulds.read(data.removeprefix(own_of(data)))


spellings = st.sampled_from(
    [
        lambda body: orjson.dumps(body).decode(),
        lambda body: json.dumps(body),
        lambda body: json.dumps(body, separators=(",", ":")),
        lambda body: json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    ]
)
texts = st.text(st.characters(codec="utf-8"))


bodies = st.builds(
    chunk,
    texts | st.none(),
    st.sampled_from([None, "stop", "length"]),
    id=texts,
    created=st.integers(0, 10**16),
    model=st.sampled_from(["m", "n"]),
    usage=st.sampled_from([None, {"total_tokens": 7}]),
)


@given(st.lists(bodies, max_size=6), bodies, spellings)
def test_what_is_read_is_what_stands_there(before, body, spelled):
    known = learned(*(spelled(one) for one in before if usual(one) is not None))
    assert read(known, spelled(body)) in (None, usual(body))


def test_chunks_that_are_alike_are_read_by_their_text_alone():
    known = learned(compact(chunk("Hy")))
    assert read(known, compact(chunk('dro"gen\n'))) == ("m", 'dro"gen\n', False)


def test_the_next_reply_has_another_name_and_time():
    known = learned(compact(chunk("Hy")), compact(chunk(None, "stop")))
    other = {"id": "chatcmpl-2", "created": 1700000007}
    assert read(known, compact(chunk("a", **other))) == ("m", "a", False)
    assert read(known, compact(chunk(None, "stop", **other))) == ("m", "", True)


def test_the_end_is_told_from_what_is_before_it():
    known = learned(compact(chunk("Hy")), compact(chunk("!", "stop")))
    assert read(known, compact(chunk("a", "stop"))) == ("m", "a", True)
    assert read(known, compact(chunk("a"))) == ("m", "a", False)
    assert read(known, compact(chunk("a", "length"))) is None


@pytest.mark.parametrize(
    "other",
    [
        chunk("a", object="chat.completion"),
        chunk("a", usage={"total_tokens": 7}),
        chunk("a", error={"message": "no"}),
        chunk("a", model="n"),
        {**chunk("a"), "choices": []},
    ],
)
def test_chunks_that_bring_more_are_looked_at_closely(other):
    known = learned(compact(chunk("Hy")), compact(chunk(None, "stop")))
    assert read(known, compact(other)) is None


@pytest.mark.parametrize(
    "place",
    ['"a", "role": "tool"', "null", '["a"]', '{"content": "a"}', '"\\ud83d"', '"a'],
)
def test_what_is_no_text_in_its_place_is_looked_at_closely(place):
    known = learned(compact(chunk("Hy")))
    assert read(known, compact(chunk("@")).replace('"@"', place)) is None


@pytest.mark.parametrize(
    "name",
    [
        '"id":"a\\"b"',
        '"id":7',
        '"id":"a\tb"',
        '"id":"a","id":"b"',
    ],
)
def test_a_name_that_may_say_more_is_looked_at_closely(name):
    known = learned(compact(chunk("Hy")))
    assert read(known, compact(chunk("a")).replace('"id":"chatcmpl-1"', name)) is None


@pytest.mark.parametrize("created", ["-1", "01", "1.5", "1e9", "null", "9" * 40])
def test_a_time_that_may_be_none_is_looked_at_closely(created):
    known = learned(compact(chunk("Hy")))
    assert read(known, compact(chunk("a")).replace("1700000000", created)) is None


def test_the_text_is_not_taken_from_where_it_stands_by_chance():
    choice = {"index": 0, "logprobs": {"content": "a"}, "delta": {"content": "a"}}
    data = compact({**chunk(""), "choices": [choice]})
    assert usual(json.loads(data)) == ("m", "a", False)
    assert read(learned(data), data) is None


def test_half_a_character_teaches_nothing():
    data = compact(chunk("\ud83d"))
    assert read(learned(data), data) is None
    data = compact(chunk("a", model="\ud83d"))
    assert read(learned(data), data) is None


def test_only_the_newest_are_remembered():
    pieces = [compact(chunk("a", model=str(n))) for n in range(MOULDS + 1)]
    known = learned(*pieces)
    assert [read(known, one) is None for one in pieces] == [True] + [False] * MOULDS
    ends = [compact(chunk(None, "stop", model=str(n))) for n in range(BARE + 1)]
    known = learned(*ends)
    assert [read(known, one) is None for one in ends] == [True] * BARE + [False]


def test_what_is_long_is_not_remembered():
    data = compact(chunk("a", system_fingerprint="f" * 3000))
    assert read(learned(data), data) is None


@given(st.lists(st.tuples(texts, st.integers(0, 2)), min_size=1), st.booleans())
def test_an_answer_is_the_same_however_its_chunks_are_read(pieces, ends_alone):
    """Also whatever the replies before it have taught; each piece has a shape."""
    shapes: list[dict[str, Any]] = [{}, {"system_fingerprint": "f"}, {"seed": 1}]
    bodies = [chunk(text, **shapes[shape]) for text, shape in pieces]
    bodies += [chunk("!")] if ends_alone else []
    bodies += [chunk(None if ends_alone else "!", "stop")]
    moulds = Moulds()
    for name in ("a", "b"):
        events = [event({**body, "id": name}) for body in bodies]
        whole = "".join([*events, DONE])
        # Cut within every event, none is whole when it comes in.
        cuts = list(range(0, len(whole.encode()), 7))
        got = decoded(whole, key="", moulds=moulds)
        assert got == decoded(whole, cuts, key="")
        if isinstance(got, Completion):
            assert got.text == "".join(text for text, _ in pieces) + "!"


def event(body: Mapping[str, Any]) -> str:
    return f"data: {compact(body)}\n\n"
