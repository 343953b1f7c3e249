"""A reply is the same wherever it is cut, and none where its end is cut off."""

from __future__ import annotations

import pytest
from chatting import answer, chunk, decoded, stream, whole
from hypothesis import given
from hypothesis import strategies as st
from pieces import cuts, texts
from test_openai_answers import ANSWERS
from test_openai_failures import FAILURES

from batch.core.model import Completion

RECORDED = {name: one[0] for name, one in [*ANSWERS.items(), *FAILURES.items()]}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.fault(34)
def test_the_cuts_do_not_matter(name):
    data = RECORDED[name].encode()
    expected = decoded(data)
    for place in range(len(data) + 1):
        assert decoded(data, [place]) == expected, place
    assert decoded(data, list(range(len(data)))) == expected


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.fault(28)
def test_a_beginning_is_an_answer_only_where_the_end_was_seen(name):
    recorded, expected = ANSWERS[name]
    data = recorded.encode()
    whole_from = None
    for size in range(len(data) + 1):
        got = decoded(data[:size], framed=False)
        if isinstance(got, Completion):
            whole_from = size if whole_from is None else whole_from
            assert (got.text, got.tool_calls) == (expected.text, expected.tool_calls)
        else:
            assert whole_from is None, size
            assert got.code in ("unfinished", "empty")
    assert whole_from is not None
    assert b"finish_reason" in data[:whole_from]


@given(st.lists(texts, max_size=6), cuts, st.sampled_from(["\n", "\r", "\r\n"]))
def test_any_text_comes_out_as_it_went_in_wherever_it_is_cut(pieces, at, end):
    data = stream(*pieces, "答").replace("\n", end)
    heard: list[str] = []
    got = decoded(data, at, heard=heard, key="")
    assert got == answer("".join(pieces) + "答")
    assert "".join(heard) == "".join(pieces) + "答"


@given(st.lists(texts, max_size=4), texts, cuts)
def test_reasoning_is_kept_apart_wherever_it_is_cut(pieces, thought, at):
    data = "".join(chunk(None, reasoning_content=piece) for piece in pieces)
    data += chunk(thought, reasoning_content="hm") + chunk("答", "stop")
    assert decoded(data, at, key="") == answer(
        thought + "答", reasoning="".join(pieces) + "hm"
    )


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.long
def test_a_long_answer_is_read_at_once(size):
    # Were what has come put together anew at each piece, this would take minutes.
    data = stream(*["word "] * 4000).encode()
    got = decoded(data, list(range(0, len(data), size)))
    assert got == answer("word " * 4000)


def test_a_long_object_is_read_at_once_in_small_pieces():
    # The same here.
    data = whole({"content": "x" * 1_000_000}).encode()
    assert decoded(data, list(range(0, len(data), 100))) == answer("x" * 1_000_000)
