"""No fault of the table is left without a test that plays it through."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from faults import FAULTS

TESTS = Path(__file__).parent


def test_every_fault_of_the_table_is_played_through():
    played = {number for path in TESTS.rglob("test_*.py") for number in _marked(path)}
    assert played - FAULTS.keys() == set()
    assert FAULTS.keys() - played == set()


def _marked(path: Path) -> Iterator[int]:
    """The numbers of `pytest.mark.fault(...)` in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(argument) for argument in node.args)
