"""What every test stands on: laws are tried with the same examples every time."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import settings

settings.register_profile("law", derandomize=True, deadline=None)
settings.load_profile("law")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--spread",
        type=int,
        metavar="N",
        help="of each test's parameters play N that lie evenly apart, not all",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what `--spread` does not ask for; `make test-all` plays everything."""
    most = config.getoption("--spread")
    if most is None:
        return
    by_function = defaultdict(list)
    for item in items:
        by_function[item.nodeid.partition("[")[0]].append(item)
    played = {
        item for found in by_function.values() for item in evenly_apart(found, most)
    }
    config.hook.pytest_deselected(items=[one for one in items if one not in played])
    items[:] = [one for one in items if one in played]


def evenly_apart(found: list[pytest.Item], most: int) -> list[pytest.Item]:
    """Return at most `most` of these, the first and the last among them."""
    if len(found) <= most:
        return found
    return [found[n * (len(found) - 1) // max(most - 1, 1)] for n in range(most)]
