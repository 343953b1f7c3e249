"""Checks of answers end within their limit, whatever schema and answer are."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from trials import Trial

from batch import worker
from batch.checking import Checker, fault_soon
from batch.core.expected import Expected, check_schema
from batch.core.model import Completion, EntryState, RequestState

LATE = "could not be checked within 0.2 s"
WORDS = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"


def doubled(depth: int) -> dict[str, Any]:
    """A schema that asks the same of a value 2 ** depth times."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(depth):
        both = [{"$ref": f"#/$defs/d{level}"}] * 2
        definitions[f"d{level + 1}"] = {"allOf": both}
    return {"$defs": definitions, "$ref": f"#/$defs/d{depth}"}


@pytest.fixture
def checker() -> Iterator[Checker]:
    checker = Checker(limit=0.2)
    yield checker
    checker.close()


def expected(schema: Any) -> Expected:
    return Expected(schema=check_schema(schema))


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": r"^([A-Za-z]+\s?)+$"}, WORDS),
        ({"patternProperties": {r"^(a|a)*$": {}}}, {WORDS: 1}),
        (
            {"patternProperties": {r"^(a+)+$": {}}, "additionalProperties": False},
            {WORDS: 1},
        ),
        (
            {"unevaluatedProperties": False, "patternProperties": {r"^(a+)+$": {}}},
            {WORDS: 1},
        ),
        (doubled(30), "x"),
        ({"uniqueItems": True}, [{"n": number} for number in range(8000)]),
    ],
)
def test_a_check_that_takes_too_long_is_ended_and_the_next_is_made(
    checker, schema, answer
):
    assert checker.fault(expected(schema), json.dumps(answer)) == LATE
    assert checker.fault(expected({"type": "integer"}), "1") is None


def test_a_check_says_what_the_schema_says(checker):
    schema = expected({"pattern": r"^\w+(?=铁)铁$", "type": "string"})
    assert checker.fault(schema, '"生铁"') is None
    assert checker.fault(schema, "1") == "$: 1 is not of type 'string'"
    assert checker.fault(schema, "```json\n1\n```") == "$: 1 is not of type 'string'"
    assert str(checker.fault(schema, "a\nb")).startswith("not JSON: ")


def test_a_process_that_is_killed_is_replaced(checker):
    schema = expected({"type": "integer"})
    assert checker.fault(schema, "1") is None
    os.kill(checker.pid, 9)
    assert checker.fault(schema, "1") in (
        None,
        "could not be checked: the process ended (-9)",
    )
    assert checker.fault(schema, "1") is None


def test_without_a_process_the_answer_is_kept_with_the_reason(checker, monkeypatch):
    monkeypatch.setattr("batch.checking.sys.executable", "/nowhere/python")
    found = checker.fault(expected({"type": "integer"}), "1")
    assert found == "could not be checked: No such file or directory"


def test_only_a_schema_needs_a_process(checker):
    assert checker.fault(Expected(), "1") is None
    assert checker.pid == 0


async def test_the_loop_goes_on_while_an_answer_is_checked(monkeypatch, checker):
    monkeypatch.setattr("batch.checking._checker", checker)
    slow = expected({"pattern": r"^(a+)+$"})
    check = asyncio.ensure_future(fault_soon(slow, json.dumps(WORDS)))
    turns = 0
    while not check.done():
        await asyncio.wait([check], timeout=0.01)
        turns += 1
    assert check.result() == LATE
    assert turns > 2


async def test_an_answer_is_kept_where_the_run_ends_while_it_is_checked(monkeypatch):
    begun = asyncio.Event()

    async def for_ever(_expected: Expected, _text: str) -> str | None:
        begun.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(worker, "fault_soon", for_ever)
    trial = Trial(Completion(text="{}", finish_reason="stop"))
    work = asyncio.ensure_future(trial.work(expected=Expected(schema="{}")))
    await begun.wait()
    (held,) = trial.desk.held
    assert (held.state, held.credit) == (RequestState.RUNNING, EntryState.SPENT)
    assert held.completion is not None
    assert held.completion.text == "{}"
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    (last,) = trial.desk.settled
    assert (last.state, last.credit) == (RequestState.COMPLETED, EntryState.SPENT)
    assert last.completion is not None
    assert last.completion.text == "{}"
    assert last.completion.invalid == "not checked: the run was ended"


async def test_what_is_checked_at_once_is_recorded_once():
    trial = Trial(Completion(text="{}", finish_reason="stop"))
    last = await trial.work(expected=Expected())
    assert last.completion is not None
    assert last.completion.valid
    assert trial.desk.held == []


async def test_a_check_that_was_given_up_before_it_began_is_not_made(
    monkeypatch, checker
):
    monkeypatch.setattr("batch.checking._checker", checker)
    slow = expected({"pattern": r"^(a+)+$"})
    checks = [
        asyncio.ensure_future(fault_soon(slow, json.dumps(WORDS))) for _ in range(5)
    ]
    done, others = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
    for check in others:
        check.cancel()
    await asyncio.wait(checks)
    assert done
    assert all(check.cancelled() for check in others)
    # The one that had begun was ended with its process.
    given_up = threading.Event()
    checker.give_up(given_up)
    assert checker.fault(slow, json.dumps(WORDS), given_up) == "not checked"
