"""Whatever bytes and JSON come bring nothing down; what is no text is no answer."""

from __future__ import annotations

import json

import pytest
from chatting import answer, chunk, decoded, event, failed, stream
from hypothesis import given
from hypothesis import strategies as st
from pieces import ROLE, STOP, cuts, texts

from batch.core.model import Completion, Failure
from batch.core.streams import NotTextError


@given(st.binary(max_size=60), st.sampled_from([stream("hi"), ROLE, "{", ""]), cuts)
def test_no_bytes_whatever_bring_it_down_or_depend_on_the_cuts(noise, before, at):
    def outcome(places: list[int]) -> object:
        try:
            return decoded(before.encode() + noise, places)
        except NotTextError as error:
            return str(error)

    told, cut = outcome([]), outcome(at)
    # Bad bytes end the call where they come: whether the end or the next piece finds
    # them is a matter of the cuts.
    bad = [one for one in (told, cut) if isinstance(one, str)]
    if bad:
        bad += [one.message for one in (told, cut) if isinstance(one, Failure)]
        assert all("not UTF-8" in one for one in bad) or before == stream("hi")
    else:
        assert told == cut


#: Names that mean something, to put the wrong things under.
NAMES = [
    *("choices", "delta", "message", "content", "finish_reason", "index", "error"),
    *("code", "tool_calls", "function", "id", "name", "arguments", "reasoning"),
    *("refusal", "usage", "model"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), st.booleans())
def test_no_json_whatever_brings_it_down(bodies, streamed):
    data = "".join(map(event, bodies)) if streamed else json.dumps(bodies)
    got = decoded(data)
    if isinstance(got, Completion):
        # What is kept can be written down.
        json.dumps([got.usage, got.tool_calls, got.reasoning]).encode()
        got.text.encode()
    else:
        got.message.encode()
        got.partial.encode()


@given(st.dictionaries(st.sampled_from(["index", "delta", "message"]), json_values))
def test_no_choice_whatever_brings_it_down(choice):
    ended = {"finish_reason": "stop", **choice}
    got = decoded(event({"choices": [ended]}) + event({"choices": [ended]}))
    if isinstance(got, Completion):
        json.dumps([got.usage, got.tool_calls, got.reasoning]).encode()
        got.text.encode()


def test_bytes_that_are_no_text_are_never_an_answer():
    with pytest.raises(NotTextError, match="not UTF-8"):
        decoded(b"data: \xff\n\n")
    failed(decoded(b'{"choices": "\xff"}'), "not_text")
    whole = chunk("hi").encode() + b"data: \xe9t\xe9\n\n" + STOP.encode()
    failed(decoded(whole), "not_text")
    with pytest.raises(NotTextError, match="not UTF-8"):
        decoded(whole, [len(whole) - 1])


def test_half_a_character_behind_the_end_does_no_harm():
    tail = "data: 铁".encode()[:-1]
    assert decoded((chunk("hi") + STOP).encode() + tail) == answer("hi")
    failed(decoded(chunk("hi").encode() + tail), "not_text")
    failed(decoded(chunk("hi").encode() + tail, framed=False), "unfinished")
