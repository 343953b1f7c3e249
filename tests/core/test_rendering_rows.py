"""What a row and a template ask together: prompt, system message, model and id."""

from __future__ import annotations

import pytest
from rendered import prompt_of, reason, render, user

from batch.core.rendering import Rendered
from batch.core.template import Template

# What is asked


def test_a_row_and_a_template_make_one_message():
    got = render(Template(prompt="Say {{ name }}."), {"name": "iron"}, number=7)
    assert got == Rendered(
        custom_id="7", messages=[user("Say iron.")], model=None, params={}
    )


def test_a_system_template_stands_in_front():
    template = Template(prompt="{{ a }}", system="You know {{ a }}.")
    assert render(template, {"a": "x"}).messages == [
        {"role": "system", "content": "You know x."},
        user("x"),
    ]


def test_a_system_template_that_comes_out_blank_adds_nothing():
    template = Template(prompt="hi", system="{% if a %}You are {{ a }}{% endif %} ")
    assert render(template, {"a": ""}).messages == [user("hi")]


def test_the_system_message_of_a_row_wins():
    own = [{"role": "system", "content": "mine"}, user("hi")]
    template = Template(system="the job's {{ missing }}")
    assert render(template, {"messages": own}).messages == own


def test_the_system_template_precedes_messages_that_have_none():
    own = [user("a"), {"role": "assistant", "content": "b"}, user("c")]
    got = render(Template(system="S"), {"messages": own})
    assert got.messages == [{"role": "system", "content": "S"}, *own]
    assert len(own) == 3


@pytest.mark.parametrize(
    ("template", "values", "asked"),
    [
        # the row's own wins over a template that does not read it
        (Template(prompt="T {{ x }}"), {"messages": [user("own")], "x": "1"}, "own"),
        (Template(prompt="T {{ x }}"), {"message": [user("own")], "x": "1"}, "own"),
        (Template(prompt="T {{ x }}"), {"prompt": "own", "x": "1"}, "own"),
        (Template(prompt="T"), {"prompt": "own"}, "own"),
        (Template(), {"prompt": "own"}, "own"),
        (Template(), {"messages": [user("own")], "prompt": "other"}, "own"),
        (Template(), {"messages": None, "prompt": "own"}, "own"),
        # a template that reads the column itself wins
        (Template(prompt="T {{ prompt }}"), {"prompt": "x"}, "T x"),
        (Template(prompt="T {{ prompt|upper }}"), {"prompt": "x"}, "T X"),
        (Template(prompt="T {{ row.prompt }}"), {"prompt": "x"}, "T x"),
        (Template(prompt='T {{ row["prompt"] }}'), {"prompt": "x"}, "T x"),
        (Template(prompt="{{ row|tojson }}"), {"prompt": "x"}, '{"prompt": "x"}'),
        (
            Template(prompt="T {{ messages[0].content }}"),
            {"messages": [user("x")]},
            "T x",
        ),
        (Template(prompt="T {{ message }}"), {"message": "x"}, "T x"),
        (Template(prompt="T {{ row[k] }}"), {"prompt": "x", "k": "prompt"}, "T x"),
        # reading another column through `row` is no wish to read the prompt
        (Template(prompt='T {{ row["a b"] }}'), {"prompt": "own", "a b": "x"}, "own"),
        # the named column is the row's prompt
        (Template(prompt_column="q"), {"q": "x", "prompt": "own"}, "x"),
        (Template(prompt_column="q"), {"q": "x", "messages": [user("own")]}, "x"),
        (Template(prompt_column="q"), {"prompt": "own"}, "own"),
        # an empty cell is none
        (Template(prompt="T"), {"prompt": ""}, "T"),
        (Template(prompt="T"), {"prompt": None}, "T"),
        # a text called `message` is a column like any other
        (Template(prompt="T"), {"message": "x"}, "T"),
        # lines of a text file need no template
        (Template(), {"text": "x"}, "x"),
        (Template(prompt="T {{ text }}"), {"text": "x"}, "T x"),
    ],
)
def test_whose_prompt_wins(template, values, asked):
    assert render(template, values).messages == [user(asked)]


@pytest.mark.parametrize(
    ("template", "values", "model"),
    [
        (Template(prompt="x"), {"model": "m"}, "m"),
        (Template(prompt="x"), {"model": ""}, None),
        (Template(prompt="x"), {"model": None}, None),
        (Template(prompt="x"), {}, None),
        # a car, not an LLM
        (Template(prompt="Describe the {{ model }}"), {"model": "Corolla"}, None),
    ],
)
def test_whose_model_wins(template, values, model):
    assert render(template, values).model == model


def test_a_model_that_is_no_text_is_refused():
    assert reason(Template(prompt="x"), {"model": 3}) == (
        "the model is a number, not a text"
    )


def test_a_row_that_carries_a_key_is_refused():
    row = {"message": [user("x")], "api_key": "sk-1"}
    assert "sk-1" not in reason(Template(), row)
    assert prompt_of("{{ api_key }}", {"api_key": "a column"}) == "a column"


# The custom_id


@pytest.mark.parametrize(
    ("template", "values", "custom_id"),
    [
        ({}, {}, "9"),
        ({}, {"id": "a"}, "a"),
        ({}, {"id": 12}, "12"),
        ({}, {"id": "a", "custom_id": "b"}, "b"),
        ({"id_column": "symbol"}, {"id": "a", "symbol": "Fe"}, "Fe"),
        ({"id": "{{ symbol }}-{{ n }}"}, {"id": "a", "symbol": "Fe", "n": 1}, "Fe-1"),
        ({}, {"id": "x" * 512}, "x" * 512),
        ({}, {"id": " 铁 "}, " 铁 "),
    ],
)  # fmt: skip
def test_where_the_custom_id_comes_from(template, values, custom_id):
    assert render(Template(prompt="x", **template), values, 9).custom_id == custom_id


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "the custom_id is null"),
        (1.5, "the custom_id is a number"),
        (True, "the custom_id is true or false"),
        ({"$oid": "1"}, "the custom_id is an object"),
        ("", "the custom_id is empty"),
        (" ", "the custom_id is empty"),
        ("x" * 513, "the custom_id is 513 characters long; 512 at most"),
        (10**513, "the custom_id is"),
        pytest.param(
            10**5000, "the custom_id is longer than 512 characters", id="huge"
        ),
        ("a\0b", "the custom_id contains a NUL character"),
        ("\ud800", "the custom_id contains a lone surrogate"),
    ],
)
def test_an_id_that_is_no_id_is_refused(value, expected):
    assert reason(Template(prompt="x"), {"id": value}).startswith(expected)


def test_an_id_column_must_be_there():
    got = reason(Template(prompt="x", id_column="key"), {"id": "a", "name": "b"})
    assert got == "the row has no column 'key' for its id (it has 'id' and 'name')"
