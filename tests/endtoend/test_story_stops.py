"""A mistake is found with the first call, and costs no more than that."""

from __future__ import annotations

import socket

import pytest
from stage import Stage


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.fault(39)
def test_a_refused_key_stops_the_run_after_one_call(stage: Stage):
    served = stage.serve(keys=frozenset({"another"}))
    job = stage.submit([f"frage {n}" for n in range(20)])

    done = stage.run("run", "--concurrency", 8)

    assert done.code == 77
    assert done.out == ""
    assert "refused the key" in done.err
    assert (
        "it came from $ESPAI_API_KEY, which takes precedence over `quotabatch keys set "
        "espai`: correct the variable, then run again\n"
    ) in done.err
    assert done.err.count("Error: ") == 1
    assert served.count == 1
    assert stage.counts(job) == {"total": 20, "pending": 20}
    assert stage.ledger()["used"] == 1
    assert [one["status"] for one in stage.export(job)] == ["pending"] * 20


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("http:401", 77, "keys set"),
        ("http:403", 77, "keys set"),
        ("http:404", 78, "base_url and model"),
        ("redirect", 78, "redirects to"),
    ],
)
@pytest.mark.fault(39, 40)
def test_what_concerns_every_request_stops_the_run_at_the_first(
    stage: Stage, fault, code, says
):
    served = stage.serve(always=fault)
    job = stage.submit([f"frage {n}" for n in range(5)])

    done = stage.quick("run")

    assert done.code == code
    assert says in done.err
    assert done.err.count("Error: ") == 1
    assert served.count == 1
    assert stage.counts(job) == {"total": 5, "pending": 5}


@pytest.mark.fault(23)
@pytest.mark.long
def test_a_dead_port_costs_no_credit(stage: Stage):
    stage.configure(limit=200)
    job = stage.submit(["eins", "zwei"])
    port = free_port()

    done = stage.run("run", "--base-url", f"http://127.0.0.1:{port}/v1")

    assert done.code == 69
    assert done.out == ""
    assert f"cannot connect to 127.0.0.1:{port}" in done.err
    assert "Connect call failed" not in done.err
    assert "no credit" in done.err
    assert done.err.count("Error: ") == 1
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"], ledger["remaining"]) == (0, 0, 200)
    assert stage.counts(job) == {"total": 2, "pending": 2}
    assert [one["attempts"] for one in stage.export(job)] == [0, 0]


@pytest.mark.long  # a resolver may take its time
@pytest.mark.fault(22)
def test_a_host_that_is_not_there_costs_no_credit(stage: Stage):
    job = stage.submit(["eins"])

    done = stage.quick("run", "--base-url", "http://nowhere.invalid/v1")

    assert done.code == 69
    assert "cannot resolve nowhere.invalid" in done.err
    assert stage.ledger()["used"] == 0
    assert stage.counts(job) == {"total": 1, "pending": 1}


def test_without_a_key_nothing_is_sent_and_the_way_out_is_named(stage: Stage):
    served = stage.serve()
    job = stage.submit(["eins"])

    done = stage.run("run", env={"ESPAI_API_KEY": None})

    assert done.code == 77
    assert done.out == ""
    for way in ("quotabatch keys set espai", "ESPAI_API_KEY", "QUOTABATCH_API_KEY"):
        assert way in done.err
    assert done.err.count("Error: ") == 1
    assert served.count == 0
    assert stage.counts(job) == {"total": 1, "pending": 1}


@pytest.mark.fault(37)
@pytest.mark.long
def test_a_service_that_only_fails_does_not_burn_the_day(stage: Stage):
    served = stage.serve(always="http:500")
    job = stage.submit([f"frage {n}" for n in range(50)])

    done = stage.quick("run", "--max-failures", 3, "--concurrency", 8)

    assert done.code == 69
    assert "3 calls in a row failed" in done.err
    assert served.count == 3
    assert stage.ledger()["used"] == 3
    # None of them is to blame: all wait again.
    assert stage.counts(job) == {"total": 50, "pending": 50}


@pytest.mark.fault(38)
def test_one_bad_request_fails_alone(stage: Stage):
    served = stage.serve(faults={2: "http:400"})
    job = stage.submit(["eins", "zwei", "drei"])

    done = stage.quick("run", "--concurrency", 1)

    assert done.code == 1
    assert "1 failed" in done.err
    assert served.prompts == ["eins", "zwei", "drei"]
    assert stage.counts(job) == {"total": 3, "completed": 2, "failed": 1}
    error = stage.export(job)[1]["error"]
    assert error["code"] == "http_400"
    assert "400" in error["message"]


def test_one_key_has_one_ledger_whatever_the_database(stage: Stage):
    served = stage.serve(limit=3)
    stage.submit([f"frage {n}" for n in range(5)])
    assert stage.quick("run").code == 75
    other = stage.folder / "other.db"
    source = stage.write("more.txt", "sechs\nsieben\n")
    args = ("--db", other)
    assert stage.quick("submit", source, "--model", "openchat", *args).code == 0

    done = stage.quick("run", *args)

    assert done.code == 78
    assert str(other) in done.err
    assert str(stage.home / "quotabatch.db") in done.err
    assert "--separate-ledger" in done.err
    assert served.count == 3


def test_a_setting_that_cannot_be_used_is_named_with_its_place(stage: Stage):
    stage.configure(200, "concurency = 4")
    done = stage.quick("status")
    assert done.code == 78
    assert str(stage.home / "config.toml") in done.err
    assert "did you mean 'concurrency'?" in done.err

    stage.configure(200)
    done = stage.quick("status", env={"QUOTABATCH_CONCURRENCY": "many"})
    assert done.code == 78
    assert "QUOTABATCH_CONCURRENCY" in done.err

    done = stage.quick("run", "--concurrency", 0)
    assert done.code in (2, 78)
    assert "--concurrency" in done.err
