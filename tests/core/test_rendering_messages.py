"""What can be sent: messages that are refused by name, and all others unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered import prompt_of, reason, render, user

from batch.core.rendering import Renderer
from batch.core.template import MAX_TEXT, Template
from batch.errors import RowError

law = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "'messages' is empty"),
        (["x"], "messages[0] is a text, not an object"),
        ([{}], "messages[0]: the role is missing; it can be system, user and"),
        ([{"role": "tool", "content": "x"}], "messages[0]: the role is 'tool'"),
        ([{"role": ["user"], "content": "x"}], "messages[0]: the role is a list"),
        ([{"role": "user"}], "messages[0]: the content is missing"),
        ([user(""), user("x")], "messages[0]: the content is empty"),
        ([user(" \n")], "messages[0]: the content is empty"),
        ([{"role": "user", "content": None}], "messages[0]: the content is null"),
        ([{"role": "user", "content": []}], "messages[0]: the content is no list"),
        ([{"role": "user", "content": ["x"]}], "messages[0]: the content is no list"),
        ([user("a\0")], "messages[0] contains a NUL character"),
        ([user("\udfff")], "messages[0] contains a lone surrogate"),
        ([{**user("a"), "x": float("nan")}], "messages[0] contains a number that is"),
        ([{**user("a"), "x": 2**64}], "messages[0] contains an integer of more than"),
        ([{**user("a"), "\0": 1}], "messages[0] contains a NUL character"),
        (
            [user("a"), {"role": "assistant", "content": "b"}],
            "messages[1]: the last message must be the user's, not assistant's",
        ),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_sent_are_named(messages, expected):
    assert reason(Template(), {"messages": messages}).startswith(expected)


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": ""}


def test_chat_completions_have_more_roles_and_calls_of_functions():
    messages = [{"role": "developer", "content": "d"}, user("a"), CALLS, RESULT]
    template = Template(system="not beside a developer's")
    chat = Renderer(template, chat=True)
    assert chat.render({"messages": messages}, 1).messages == messages
    assert "the role is 'developer'" in reason(template, {"messages": messages})


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("a"), CALLS], "must be the user's, not assistant's"),
        ([{**CALLS, "tool_calls": []}, user("a")], "the content is null"),
        ([{"role": "function", "content": "x"}], "the role is 'function'"),
        ([{"role": "tool", "content": None}], "the content is null"),
    ],
)
def test_messages_that_chat_completions_do_not_have_are_named(messages, expected):
    with pytest.raises(RowError, match=expected):
        Renderer(Template(), chat=True).render({"messages": messages}, 1)


def test_parts_and_other_fields_of_a_message_pass_through():
    own = [{"role": "user", "content": [{"type": "text", "text": "x"}], "name": "n"}]
    assert render(Template(), {"messages": own}).messages == own


def test_what_is_nested_too_deeply_is_refused():
    deep: Any = "x"
    for _ in range(3000):
        deep = {"a": deep}
    row = {"messages": [{**user("a"), "deep": deep}]}
    assert reason(Template(), row) == "messages[0] is nested too deeply"


@pytest.mark.parametrize("unit", ["x", "铁"])
def test_a_request_has_a_size_limit_in_bytes(unit):
    most = MAX_TEXT // len(unit.encode())
    assert render(Template(), {"prompt": unit * most}).messages
    assert "bytes long; 8,388,608 at most" in reason(
        Template(), {"prompt": unit * (most + 1)}
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
@law
def test_any_text_passes_through_word_for_word(text):
    try:
        got = prompt_of("{{ a }}", {"a": text})
    except RowError:
        assert "\0" in text or not text.strip()
    else:
        assert got == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
@settings(law, max_examples=60)
def test_no_row_whatsoever_raises_anything_but_a_row_error(value):
    names = ("messages", "message", "prompt", "body", "model", "id", "custom_id")
    refused = []
    for name in names:
        for template in (Template(), Template(prompt="{{ x }}", system="{{ id }}")):
            try:
                got = render(template, {name: value, "x": value})
            except RowError as error:
                refused.append(str(error))
            else:
                assert got.messages[-1]["role"] == "user"
                assert 0 < len(got.custom_id) <= 512
    assert not any("\n" in reason for reason in refused)
