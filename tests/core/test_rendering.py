from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.rendering import Rendered, Renderer
from batch.core.template import MAX_TEXT, Template
from batch.errors import RowError, TemplateError

law = settings(derandomize=True, deadline=None, max_examples=200)


def render(template: Template, values: dict[str, Any], number: int = 1) -> Rendered:
    return Renderer(template).render(values, number)


def prompt_of(source: str, values: dict[str, Any]) -> str:
    return render(Template(prompt=source), values).messages[-1]["content"]


def reason(template: Template, values: dict[str, Any]) -> str:
    with pytest.raises(RowError) as error:
        render(template, values)
    assert "\n" not in str(error.value)
    return str(error.value)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


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
        ("{{ deep }}", "recursion"),
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


# What can be sent


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
