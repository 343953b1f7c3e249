"""Quotas of every kind, as a user has them: in config.toml, and on the screen."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from allowances import EVERY, configure
from stage import DAY, MODEL, Stage

# What `quota` shows


@pytest.mark.long
def test_quota_shows_every_kind(stage: Stage):
    served = stage.serve()
    configure(
        stage, *(f'name = "{name}", limit = 50, {how}' for name, how in EVERY.items())
    )
    stage.submit("ab")

    before = stage.quick("quota")

    assert before.code == 0, before.err
    for name in EVERY:
        assert re.search(rf"\b{name}: 0 of 50 credits used, 50 left", before.out)
    assert stage.run("run").code == 0
    assert served.count == 2
    after = stage.quick("quota")
    lines = {line.split(":")[0].strip(): line for line in after.out.splitlines()}
    for name in set(EVERY) - {"minutes"}:
        assert "2 of 50 credits used, 48 left" in lines[name]
    assert "reset" in lines["days"]
    assert "reset" in lines["months"]
    assert "reset" in lines["begins"]
    assert "back" in lines["rolls"]
    # A credit every 86400/50 seconds.
    assert "29 min" in lines["refills"]
    assert "nothing brings it back" in lines["given"]


@pytest.mark.long
def test_quota_as_json_has_null_for_what_never_comes(stage: Stage):
    stage.serve()
    configure(
        stage, *(f'name = "{name}", limit = 2, {how}' for name, how in EVERY.items())
    )
    stage.submit("abc")
    for _ in range(2):
        done = stage.quick("quota", "--json")
        assert done.code == 0
        assert done.err == ""
        found = {one["quota"]: one for one in done.json()}
        assert found.keys() == EVERY.keys()
        for name, one in found.items():
            assert one["limit"] == 2
            assert one["unit"] == "credits"
            assert not one["closed"]
            for key in ("starts_at", "resets_at", "grants_at", "closed_until"):
                at = one[key]
                assert at is None or datetime.fromisoformat(at).year < 2100, name
        given, rolls, days = found["given"], found["rolls"], found["days"]
        assert given["resets_at"] is None
        assert given["starts_at"] is None
        assert rolls["resets_at"] is None
        assert days["resets_at"] is not None
        assert days["starts_at"] < days["resets_at"]
        stage.run("run", "--max-calls", 2)
    assert (given["remaining"], given["grants_at"]) == (0, None)
    assert (days["remaining"], rolls["remaining"]) == (0, 0)
    assert rolls["grants_at"] is not None
    windows = re.findall('window = "(.*?)"', "\n".join(EVERY.values()))
    assert {one["window"] for one in found.values()} == set(windows)


@pytest.mark.long
def test_a_models_own_quota_is_shown_by_model(stage: Stage):
    stage.serve()
    configure(stage, 'name = "own", limit = 9, window = "month", per = "model"')
    stage.submit("ab")
    assert stage.run("run").code == 0
    (one,) = stage.quick("quota", "--json").json()
    assert (one["scope"], one["used"]) == (f"model:{MODEL}", 2)
    assert MODEL in stage.quick("quota").out


@pytest.mark.long
def test_the_history_has_a_bar_for_every_day(stage: Stage):
    served = stage.serve(limit=6)
    assert "Nothing" in stage.quick("quota", "--history").err
    stage.submit([f"frage {n}" for n in range(20)])
    stage.run("run", "--max-calls", 3)
    served.standin.next_day()
    stage.run("run", later=DAY)

    done = stage.run("quota", "--history", later=DAY)

    assert done.code == 0, done.err
    account, *lines = done.out.splitlines()
    assert account.startswith("espai:")
    # The newest day first: all of six, then half of them.
    bars = [line.count("█") for line in lines]
    assert bars == [30, 15]
    assert "6 of 6" in lines[0]
    assert "3 of 6" in lines[1]
    rows = stage.run("quota", "--history", "--json", later=DAY).json()
    assert [row["calls"] for row in rows] == [6, 3]
    assert [row["credits"] for row in rows] == [6, 3]
    assert [row["refused"] for row in rows] == [0, 0]
    days = [datetime.fromisoformat(row["day"]) for row in rows]
    assert days[0] - days[1] == DAY


@pytest.mark.long
def test_the_history_tells_of_refusals(stage: Stage):
    served = stage.serve(limit=3)
    stage.configure(limit=200)
    stage.submit([f"frage {n}" for n in range(9)])
    assert stage.run("run", "--concurrency", 1).code == 75
    assert served.count == 4
    (row,) = stage.quick("quota", "--history", "--json").json()
    assert (row["calls"], row["refused"], row["limit"]) == (4, 1, 200)
    assert "1 refused" in stage.quick("quota", "--history").out


@pytest.mark.long
def test_what_the_endpoint_taught_can_be_forgotten(stage: Stage):
    served = stage.serve(limit=3)
    stage.configure(limit=200)
    stage.submit([f"frage {n}" for n in range(9)])
    assert stage.run("run", "--concurrency", 1).code == 75
    assert stage.ledger()["closed"]
    assert "closed until" in stage.quick("quota").out
    assert stage.run("run").code == 75
    assert served.count == 4

    done = stage.quick("quota", "forget")

    assert done.code == 0
    ledger = stage.ledger()
    assert not ledger["closed"]
    assert ledger["closed_until"] is None
    # What was spent stays spent.
    assert ledger["used"] == 4
    assert "closed until" not in stage.quick("quota").out
    served.standin.limit = 200
    assert stage.run("run").code == 0
    assert served.count == 4 + 6
