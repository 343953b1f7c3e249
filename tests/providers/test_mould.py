from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from chatting import decoded
from hypothesis import given
from hypothesis import strategies as st

from batch.core.model import Completion
from batch.providers.mould import TRIES, Mould, usual_piece


def chunk(piece: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [choice],
        **more,
    }


def mould(data: str) -> Mould:
    made = Mould()
    made.take(data, json.loads(data))
    return made


spellings = st.sampled_from(
    [
        lambda body: orjson.dumps(body).decode(),
        lambda body: json.dumps(body),
        lambda body: json.dumps(body, separators=(",", ":")),
        lambda body: json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    ]
)
texts = st.text(st.characters(codec="utf-8"))


@given(texts, texts, spellings)
def test_what_it_reads_is_what_stands_there(first, other, spelled):
    cast = mould(spelled(chunk(first)))
    assert cast.piece(spelled(chunk(other))) in (None, other or None)


def test_chunks_that_are_alike_are_read_by_their_text_alone():
    cast = mould(orjson.dumps(chunk("Hy")).decode())
    data = orjson.dumps(chunk('dro"gen\n')).decode()
    assert cast.piece(data) == 'dro"gen\n'


@pytest.mark.parametrize(
    "other",
    [
        chunk("a", id="chatcmpl-2"),
        chunk("a", usage={"total_tokens": 7}),
        chunk("a", error={"message": "no"}),
        chunk(""),
        {**chunk("a"), "choices": []},
    ],
)
def test_chunks_that_bring_more_are_not(other):
    cast = mould(orjson.dumps(chunk("Hy")).decode())
    assert cast.piece(orjson.dumps(other).decode()) is None


@pytest.mark.parametrize(
    "place",
    ['"a", "role": "tool"', "null", '["a"]', '{"content": "a"}', '"\\ud83d"', '"a'],
)
def test_what_is_no_text_in_its_place_is_looked_at_closely(place):
    cast = mould(json.dumps(chunk("Hy"), separators=(",", ":")))
    whole = json.dumps(chunk("@"), separators=(",", ":"))
    assert cast.piece(whole.replace('"@"', place)) is None


def test_the_text_is_not_taken_from_where_it_stands_by_chance():
    choice = {"index": 0, "logprobs": {"content": "a"}, "delta": {"content": "a"}}
    data = json.dumps({**chunk(""), "choices": [choice]}, separators=(",", ":"))
    assert usual_piece(json.loads(data)) == "a"
    assert mould(data).piece(data) is None


def test_it_learns_no_more_where_all_chunks_differ():
    cast = Mould()
    for number in range(TRIES + 1):
        body = chunk("a", id=str(number))
        cast.take(orjson.dumps(body).decode(), body)
    assert cast.piece(orjson.dumps(chunk("b", id=str(TRIES))).decode()) is None
    assert cast.piece(orjson.dumps(chunk("b", id=str(TRIES - 1))).decode()) == "b"


@given(st.lists(texts, min_size=1))
def test_an_answer_is_the_same_however_its_chunks_are_read(pieces):
    events = [f"data: {orjson.dumps(chunk(one)).decode()}\n\n" for one in pieces]
    end = chunk("!")
    end["choices"][0]["finish_reason"] = "stop"
    whole = "".join([*events, f"data: {orjson.dumps(end).decode()}\n\n"])
    got = decoded(whole, key="")
    # Cut within every event, none is whole when it comes in.
    assert got == decoded(whole, list(range(0, len(whole.encode()), 7)), key="")
    if isinstance(got, Completion):
        assert got.text == "".join(pieces) + "!"
