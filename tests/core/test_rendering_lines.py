"""Lines of batch files and of our own export, asked as they stand."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import reason, render, user

from batch.core.rendering import Rendered
from batch.core.template import Template

# Batch lines


def test_an_openai_batch_line_is_understood():
    body = {
        "model": "m",
        "messages": [user("hi")],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    line = {
        "custom_id": "r-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    assert render(Template(prompt="unused {{ x }}"), line) == Rendered(
        custom_id="r-1", messages=[user("hi")], model="m", params={"temperature": 0.5}
    )


def test_a_mistral_line_has_neither_method_nor_url():
    line = {"custom_id": "0", "body": {"max_tokens": 5, "messages": [user("hi")]}}
    got = render(Template(), line)
    assert (got.custom_id, got.model, got.params) == ("0", None, {"max_tokens": 5})


def test_a_body_that_is_data_stays_data():
    got = render(Template(prompt="{{ body.html }}"), {"body": {"html": "x"}, "id": 3})
    assert (got.messages, got.params, got.custom_id) == ([user("x")], {}, "3")


def test_a_template_may_read_the_body_of_a_batch_line():
    line = {"custom_id": "a", "body": {"model": "m", "messages": [user("x")], "n": 1}}
    got = render(Template(prompt="T {{ body.messages[0].content }}"), line)
    assert (got.messages, got.model, got.params) == ([user("T x")], "m", {"n": 1})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": "/v1/embeddings"}, "the url is '/v1/embeddings'; only chat"),
        ({"url": "/v1/completions"}, "the url is '/v1/completions'"),
        ({"method": "GET"}, "the method is 'GET'"),
        ({"method": 7}, "the method is '7'"),
        ({"body": {"input": "x"}}, "the body has no 'messages' (it has 'input')"),
        ({"body": {"messages": [user("x")], "n": 2}}, "n is 2, and a request has one"),
        ({"body": "hi", "method": "POST"}, "'body' is a text, not an object"),
        ({"body": {"messages": "hi"}}, "'messages' is a text, not a list"),
        ({"body": {"messages": [user("x")], "api_key": "k"}}, "no place for keys"),
    ],
)
def test_a_batch_line_that_cannot_be_asked_is_refused(change, expected):
    line = {"custom_id": "a", "body": {"messages": [user("hi")]}, **change}
    assert expected in reason(Template(), line)


def test_a_batch_line_without_its_body_says_so():
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    assert reason(Template(), line) == "the line has no 'body'"
    # To a template it is a row like any other.
    assert render(Template(prompt="T {{ url }}"), line).custom_id == "a"


@pytest.mark.parametrize("number", [1, 0, None, "2", True])
def test_an_n_that_asks_for_no_second_answer_passes(number):
    line = {"custom_id": "a", "body": {"messages": [user("hi")], "n": number}}
    assert render(Template(), line).params == {"n": number}


@pytest.mark.parametrize(
    "url",
    ["/v1/chat/completions", "https://x.org/v4/chat/completions?a=1", None],
)
def test_any_url_of_chat_completions_will_do(url):
    line = {"custom_id": "a", "url": url, "body": {"messages": [user("hi")]}}
    assert render(Template(), line).messages == [user("hi")]


# Exported lines


def exported(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A line of our export that came from this row."""
    return {
        "custom_id": "seven",
        "status": "failed",
        "completion": "an answer",
        "finish_reason": "stop",
        "error": None,
        "model": "has-answered",
        "attempts": 1,
        "usage": None,
        "finished_at": None,
        "input": row,
        **more,
    }


@pytest.mark.parametrize(
    ("template", "row", "asked", "model"),
    [
        (Template(), {"prompt": "x", "id": 3}, "x", None),
        (Template(), {"text": "a line"}, "a line", None),
        (Template(), {"prompt": "x", "model": "m"}, "x", "m"),
        (Template(), {"body": {"messages": [user("x")], "model": "m"}}, "x", "m"),
        (Template(), exported({"prompt": "x"}), "x", None),
        (Template(), exported({}, input='{"prompt": "x"}'), "x", None),
        (Template(prompt_column="q"), {"q": "x"}, "x", None),
        # a prompt is there to read the line
        (Template(prompt="T {{ input.q }}"), {"q": "x"}, "T x", None),
        (Template(prompt="T {{ completion }}"), {"q": "x"}, "T an answer", None),
        (Template(prompt_column="completion"), {"q": "x"}, "an answer", None),
    ],
)
def test_an_exported_line_asks_what_its_row_has_asked(template, row, asked, model):
    got = render(template, exported(row))
    assert got.messages == [user(asked)]
    assert (got.custom_id, got.model) == ("seven", model)


def test_an_id_template_reads_the_row_of_an_exported_line():
    line = exported({"prompt": "x", "key": "k"})
    assert render(Template(id="{{ key }}"), line).custom_id == "k"
    assert render(Template(id_column="key"), line).custom_id == "k"


def test_an_exported_line_without_its_row_is_data():
    line = exported({}, input="no row", prompt="mine")
    assert render(Template(), line).messages == [user("mine")]
    # As it comes from CSV: who has answered is not who is to be asked.
    del line["input"]
    assert render(Template(prompt="T"), line).model is None
