"""What a template needs of a row and what it prints, or why it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import prompt_of, reason, render, user

from batch.core.rendering import Renderer
from batch.core.template import Template
from batch.errors import RowError, TemplateError

# Missing names


def test_all_missing_names_are_told_at_once():
    template = Template(
        prompt="{{ name }} {{ symbol }}", system="{{ mood }}", id="{{ key }}"
    )
    assert reason(template, {"Name": 1, "colour": 2}) == (
        "the template needs 'name', 'symbol', 'mood' and 'key', which this row does"
        " not have (it has 'Name' and 'colour')"
    )


def test_many_columns_are_shortened():
    got = reason(Template(prompt="{{ a }}"), {f"c{n}": n for n in range(12)})
    assert got.endswith("(it has 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6' and 5 more)")


def test_a_row_without_columns_says_so():
    assert reason(Template(prompt="{{ a }}"), {}).endswith("(it is empty)")


def test_only_the_templates_that_are_used_can_miss_a_name():
    template = Template(prompt="{{ a }}", system="{{ b }}")
    got = reason(template, {"messages": [user("x")]})
    assert "'b', which" in got
    assert "'a'" not in got


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x{{ a | default('') }}", "x"),
        ("x{% if a is defined %}{{ a }}{% endif %}", "x"),
        ("x{% for i in range(3) %}{{ i }}{% endfor %}", "x012"),
        ("x{% set a = 1 %}{{ a }}", "x1"),
    ],
)
def test_a_template_may_allow_for_a_missing_name(source, text):
    assert prompt_of(source, {}) == text


def test_a_name_that_may_be_missing_is_not_told():
    got = reason(Template(prompt="{{ a | d('') }}{{ b }}"), {})
    assert "needs 'b', which" in got


def test_a_missing_part_of_a_column_is_told():
    got = reason(Template(prompt="{{ a.b }}"), {"a": {"c": 1}})
    assert got == (
        "the template needs something that is not there:"
        " 'dict object' has no attribute 'b'"
    )


def test_a_row_with_nothing_to_ask_is_told_what_it_could_have():
    assert reason(Template(), {"a": 1}) == (
        "there is no prompt template, and the row brings neither 'messages' nor"
        " 'prompt' (it has 'a')"
    )
    assert reason(Template(), {"message": "hi"}) == (
        "'message' is a text, not a list of messages"
    )
    assert reason(Template(prompt_column="q"), {"a": 1}) == (
        "the row has no column 'q' (it has 'a')"
    )


# What a template prints


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        ("{{ a }}", {"a": 12345678901234567890123}, "12345678901234567890123"),
        ("{{ a }}\n", {"a": "<b>"}, "<b>\n"),
        ("{{ a|tojson }}", {"a": {"k": "<铁's>"}}, '{"k": "<铁\'s>"}'),
        ("{{ a.items }} {{ a.b }}", {"a": {"items": 3, "b": 4}}, "3 4"),
        ("{{ a|join(', ') }}", {"a": ["x", "y"]}, "x, y"),
        ("{{ a.b | d('-') }} {{ 2 is even }}", {"a": {}}, "- True"),
        ("{{ 名称 }}", {"名称": "铁"}, "铁"),
        ("{{ row['full name'] }}", {"full name": "x"}, "x"),
        ("{{ row }}", {"row": "the column"}, "the column"),
        ("{{ a }}{{ self }}", {"a": 1, "self": 2}, None),
        ("{{ a or '' }}.", {"a": None}, "."),
        ("{{ range(3)|list }} {{ 0.5 }} {{ a }}", {"a": True}, "[0, 1, 2] 0.5 True"),
    ],
)
def test_what_a_template_prints(source, values, text):
    if text is None:
        reason(Template(prompt=source), values)
    else:
        assert prompt_of(source, values) == text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ null }}", "prints a null ('null' in this row); {{ x or '' }}"),
        ("{{ list|map('upper') }}", "prints a generator; add | list"),
        ("{{ text.upper }}", "prints a builtin_function_or_method"),
        ("{{ infinite|float }}", "prints inf, which is no number"),
        ("{{ 1 // 0 }}", "the prompt template: integer division or modulo by zero"),
        ("a\nb {{ 1 / 0 }}", "the prompt template, line 2: division by zero"),
        ("{{ text.__class__ }}", "unsafe"),
        ("{{ list.append(1) }}", "unsafe"),
        ("{{ 'x' * 10 ** 9 }}", "more than"),
        ("{{ [1] * 10 ** 9 }}", "more than"),
        ("{{ 9 ** 99999 }}", "too large"),
        ("{{ range(10 ** 6) }}", "Range too big"),
        ("{% for i in range(99999) %}{{ text * 100 }}{% endfor %}", "more than"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recursion"),
        ("{{ text + 1 }}", "can only concatenate str"),
        ("{{ deep }}", "a list is nested more than 500 deep"),
        ("{{ deep|tojson }}", "a list is nested more than 500 deep"),
        (" \n\t{{ empty }}", "the prompt is empty"),
        ("{{ nul }}", "the prompt contains a NUL character"),
        ("{{ half }}", "the prompt contains a lone surrogate"),
    ],
)
def test_a_template_that_fails_on_a_row_is_a_bad_row(source, expected):
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    values = {
        "null": None,
        "list": ["a"],
        "text": "text",
        "infinite": "inf",
        "deep": deep,
        "empty": "",
        "nul": "\0",
        "half": "\ud800",
    }
    assert expected in reason(Template(prompt=source), values)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (Template(prompt="a\n{{ b }"), "the prompt template: unexpected '}' (line 2)"),
        (Template(system="{% if %}"), "the system template: "),
        (Template(id="{{ a|nope }}"), "the id template: No filter named 'nope'"),
        (Template(prompt="{{ a|random }}"), "No filter named 'random'"),
        (Template(prompt="{% include 'x' %}"), "cannot take in another file"),
        (Template(prompt="{% extends 'x' %}"), "cannot take in another file"),
        (Template(prompt="a\0"), "contains a NUL character"),
        (Template(prompt="a", prompt_column="b"), "either a prompt or a prompt column"),
        (Template(id="a", id_column="b"), "either an id or an id column"),
        (Template(prompt="{% for a in b %}" * 40 + "{% endfor %}" * 40), "the prompt"),
    ],
)
def test_a_template_that_cannot_be_compiled_is_told_in_one_line(template, expected):
    with pytest.raises(TemplateError) as error:
        Renderer(template)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_row_gives_the_same_text_every_time():
    renderer = Renderer(Template(prompt="{{ cycler('a', 'b').next() }}{{ x }}"))
    texts = {renderer.render({"x": 1}, n).messages[0]["content"] for n in range(5)}
    assert texts == {"a1"}


def test_rendering_leaves_the_row_as_it_was():
    values = {"a": [1], "messages": [user("x")]}
    render(Template(system="{{ a }}{% set a = 2 %}"), values)
    assert values == {"a": [1], "messages": [user("x")]}


@pytest.mark.parametrize("value", ["iron", "铁\n", "", " ", "{{ b }}", "<&'>", 7, True])
def test_a_plain_template_says_what_jinja_would(value):
    """Texts and columns are put together without it."""
    row = {"a": value, "b": "and gold"}
    short, long = "Of {{ a }}\n{{b}}.\n", "Of {{ a }}\n{% if 1 %}{{b}}{% endif %}.\n"
    [said] = render(Template(prompt=short), row).messages
    assert said == render(Template(prompt=long), row).messages[0]
    assert said["content"] == f"Of {value}\nand gold.\n"


@pytest.mark.parametrize("name", ["self", "range", "row", "loop"])
def test_names_that_jinja_has_are_columns_where_it_lets_them_be(name):
    def tried(prompt: str) -> object:
        try:
            return render(Template(prompt=prompt), {name: "a text", "x": 1}).messages
        except RowError as error:
            return str(error)

    plain, other = f"{{{{ {name} }}}}", f"{{% if 1 %}}{{{{ {name} }}}}{{% endif %}}"
    assert tried(plain) == tried(other)
