"""What answers must be: JSON, with or without a fence, and what a schema says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.expected import (
    REASON_KEPT,
    Expected,
    SchemaError,
    check_schema,
    value_of,
)

DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]
CAR = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "doors": {"$ref": "#/$defs/number"}},
    "required": ["name"],
    "$defs": {"number": {"type": "integer"}},
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(
    values, st.sampled_from(["{}", " {}\n", "```json\n{}\n```", "```\r\n{}\r\n```\n"])
)
def test_whatever_is_json_is_what_was_expected(value, around):
    text = around.replace("{}", json.dumps(value, indent=1))
    assert Expected().fault(text) is None
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "```json\n```",
        "Sure! {}",
        '{"a": 1} {"b": 2}',
        '{"a": 1',
        "{'a': 1}",
        "NaN",
        "```json\n{}\n```\nThat is it.",
        '"\\ud800"',
        "[" * 5000 + "]" * 5000,
    ],
)
def test_whatever_is_none_is_told_why(text):
    reason = Expected().fault(text)
    assert reason is not None
    assert reason.startswith("not JSON: ")
    assert len(reason) <= REASON_KEPT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"name": "Käfer", "doors": 2}', None),
        ('```json\n{"name": "Käfer"}\n```', None),
        ('{"doors": 2}', "$: 'name' is a required property"),
        (
            '{"name": "Käfer", "doors": "two"}',
            "$.doors: 'two' is not of type 'integer'",
        ),
        ('"Käfer"', "$: 'Käfer' is not of type 'object'"),
    ],
)
def test_a_schema_says_what_is_wrong_and_where(answer, reason):
    assert Expected(schema=check_schema(CAR)).fault(answer) == reason


@pytest.mark.parametrize("inside", [" " * 200_000, "`" * 200_000, "\n" * 200_000])
@pytest.mark.parametrize("end", ["\n```", "```", "\n", ""])
def test_a_fence_is_found_in_one_look(inside, end):
    """By a look per character inside, each of these takes a minute."""
    text = f"```json\n[1{inside}]{end}"
    fault = Expected().fault(text)
    assert (fault is None) is (end.endswith("`") and "`" not in inside)


@pytest.mark.parametrize(
    "fence",
    ["``` \n{}\n```", "```JSON\t\r\n{} ```", "```json\n{}```", "```\n{}\r\n  ```"],
)
def test_a_fence_is_a_fence_however_it_is_written(fence):
    assert value_of(fence.replace("{}", '{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize(
    "fence", ["```python\n1\n```", "```json 1```", "``` json\n1```"]
)
def test_another_fence_is_none(fence):
    with pytest.raises(ValueError, match="not JSON"):
        value_of(fence)


def test_what_is_told_of_a_long_answer_is_short():
    schema = check_schema({"type": "object"})
    reason = Expected(schema=schema).fault(json.dumps("x" * 9000))
    assert reason is not None
    assert len(reason) == REASON_KEPT


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_schema_is_read_by_its_own_draft(draft):
    """Draft 4 has exclusiveMinimum as true or false, the later ones as a number."""
    four = {"$schema": draft, "minimum": 1, "exclusiveMinimum": True}
    later = {"$schema": draft, "exclusiveMinimum": 1}
    good, bad = (four, later) if "04" in draft else (later, four)
    schema = check_schema(good)
    assert Expected(schema=schema).fault("1") is not None
    assert Expected(schema=schema).fault("2") is None
    with pytest.raises(SchemaError):
        check_schema(bad)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ([], "a schema is an object"),
        ("true", "a schema is an object"),
        ({"type": "strng"}, r"\$\.type: 'strng'"),
        ({"pattern": "("}, "is not a 'regex'"),
        ({"properties": {"a": {"minimum": "1"}}}, r"\$\.properties\.a\.minimum"),
        ({"$schema": "http://example.org/mine"}, "no draft we know"),
        ({"$schema": 7}, "no draft we know"),
        ({"$ref": "http://127.0.0.1:9/a.json"}, "nothing is fetched"),
        ({"items": {"$ref": "other.json"}}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "leads nowhere"),
        ({"$schema": DRAFTS[2], "$ref": "file:///etc/passwd"}, "nothing is fetched"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_reason(schema, reason):
    with pytest.raises(SchemaError, match=reason):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}},
        {"$ref": DRAFTS[-1]},
        {"$defs": {"n": {"$anchor": "here"}}, "$ref": "#here"},
        {
            "$schema": DRAFTS[2],
            "definitions": {"a": {"$id": "http://e.org/a.json", "type": "object"}},
            "properties": {"x": {"$ref": "http://e.org/a.json"}},
        },
        # A property of this name is data.
        {"properties": {"$ref": {"type": "string"}}},
        {"enum": [{}, {"$ref": "other.json"}]},
    ],
)
def test_references_within_a_schema_are_followed(schema):
    assert Expected(schema=check_schema(schema)).fault("{}") is None


def test_a_schema_that_needs_itself_without_end_is_a_reason():
    schema = check_schema({"allOf": [{"$ref": "#"}]})
    assert "nested too deeply" in str(Expected(schema=schema).fault("{}"))


@pytest.mark.parametrize("schema", [True, False])
def test_a_schema_may_say_everything_or_nothing(schema):
    fault = Expected(schema=check_schema(schema)).fault("1")
    assert (fault is None) is schema
