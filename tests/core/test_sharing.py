"""One account that several profiles describe is bound by the quotas of each of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from batch.core.quota import Quota, Signals, Unit, WindowKind
from batch.core.sharing import shared

DAILY = Quota(name="daily", limit=10, kind=WindowKind.DAY)
HOURLY = Quota(
    name="hourly", limit=3, kind=WindowKind.ROLLING, period=timedelta(hours=1)
)


def test_the_quotas_of_one_profile_are_its_own():
    assert shared([("a", [DAILY, HOURLY])]) == (DAILY, HOURLY)


def test_quotas_of_different_names_all_bind():
    assert shared([("a", [DAILY]), ("b", [HOURLY])]) == (DAILY, HOURLY)


def test_of_two_that_count_the_same_the_stricter_holds():
    wide = replace(DAILY, limit=20, guard=timedelta(minutes=5))
    told = replace(wide, signals=Signals(limit="x-limit"))
    both = replace(DAILY, guard=timedelta(minutes=5), signals=told.signals)
    assert shared([("a", [DAILY]), ("b", [told])]) == (both,)
    assert shared([("a", [told]), ("b", [DAILY])]) == (both,)


def test_two_of_one_name_that_count_different_things_are_two():
    tokens = replace(DAILY, unit=Unit.TOKENS)
    of_b = replace(tokens, name="daily of b")
    assert shared([("a", [DAILY]), ("b", [tokens])]) == (DAILY, of_b)
    assert shared([("a", [DAILY]), ("b", [tokens]), ("b", [tokens])]) == (DAILY, of_b)
