"""Without zone data nobody knows when a day ends: nothing is called, and what is
missing is named. A zone that does not exist is named as well.
"""

from __future__ import annotations

import pytest
from stage import Stage


@pytest.fixture
def nowhere(stage: Stage) -> Stage:
    """A machine that has no zone data, neither its own nor the package's."""
    package = stage.aside / "packages" / "tzdata"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    stage.env["PYTHONTZPATH"] = str(stage.aside / "nonexistent")
    stage.env["PYTHONPATH"] = str(package.parent)
    return stage


@pytest.mark.fault(46)
@pytest.mark.long
def test_without_zone_data_nothing_is_spent_and_what_is_missing_is_named(
    nowhere: Stage,
):
    served = nowhere.serve()
    # The process that these come from has read its zones already.
    job = nowhere.submit(["eins"])

    for words in (["run"], ["demo"]):
        done = nowhere.run(*words)
        assert done.code == 78, words
        assert done.out == ""
        (line,) = done.err.splitlines()
        assert line.startswith("Error: ")
        assert "tzdata" in line, words
    told = nowhere.run("doctor")
    assert told.code != 0
    assert "tzdata" in told.out + told.err
    assert "Traceback" not in told.err

    assert served.count == 0
    assert nowhere.counts(job) == {"total": 1, "pending": 1}
    assert nowhere.quick("run").code == 0
    assert served.count == 1


@pytest.mark.fault(46)
@pytest.mark.long
def test_the_zone_data_of_the_package_will_do(stage: Stage):
    served = stage.serve()
    stage.env["PYTHONTZPATH"] = str(stage.aside / "nonexistent")
    stage.submit(["eins"])
    assert stage.run("run").code == 0
    assert served.count == 1
    assert stage.ledger()["used"] == 1


@pytest.mark.fault(46)
@pytest.mark.parametrize("zone", ["", "..", "../..", "Asia", "/etc/localtime", "a/b"])
def test_a_day_of_the_stand_in_is_one_of_a_zone_that_exists(stage: Stage, zone: str):
    done = stage.quick("standin", "--port", 0, "--zone", zone)
    assert done.code == 2
    assert done.err == f"Error: --zone {zone!r} is not a time zone\n"
