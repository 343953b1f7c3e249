"""What is in no reply: the key, and what no database could hold."""

from __future__ import annotations

import json

from asking import KEY
from chatting import chunk, decoded, event, stream, whole
from hypothesis import given
from hypothesis import strategies as st
from pieces import STOP, call, cuts, texts, wanted

from batch.core.model import Completion, Failure


@given(texts, st.sampled_from(["", "-tail"]), cuts)
def test_the_key_is_in_no_reply(text, tail, at):
    said = f"{text}{KEY}{tail}"
    asked = [call(0, **wanted(said, said, json.dumps({said: said})))]
    for data in (
        stream(text, KEY[:9], KEY[9:]),
        chunk("hi", reasoning=said) + STOP,
        chunk("hi", tool_calls=asked) + STOP,
        chunk("hi", beside={"usage": {said: said}, "model": said}) + STOP,
        stream("hi", finish_reason=said),
        event({"error": {"message": said, "code": said}}),
        f"event: error\ndata: {KEY}{tail}\n\n",
        event({"error": {"message": "x" * 290 + said, "type": said}}),
        chunk(None, refusal=said) + STOP,
        whole({"content": said}),
        json.dumps({"detail": said}),
        f"<html><title>{KEY}</title></html>",
        f"{KEY} is no stream",
        f"[{KEY}",
    ):
        got = decoded(data, at)
        # What a failed call had said is cleared of it by the line.
        partial = got.partial if isinstance(got, Failure) else ""
        assert KEY[:16] not in repr(got).replace(repr(partial), "")


def test_what_no_database_could_hold_is_kept_out():
    deep: object = "deep"
    for _ in range(300):
        deep = [deep]
    data = chunk("hi", beside={"usage": {"a": deep}}, reasoning="a\0b") + chunk(
        None, tool_calls=[call(0, id="a\0", function={"arguments": deep})]
    )
    got = decoded(data + STOP)
    assert isinstance(got, Completion)
    assert got.reasoning == "a\N{REPLACEMENT CHARACTER}b"
    kept = json.dumps([got.usage, got.tool_calls])
    assert kept.count("[") < 200
    assert "\\u0000" not in kept
