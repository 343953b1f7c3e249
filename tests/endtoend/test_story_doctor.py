"""`doctor` says what is wrong and what to do, and costs nothing."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from stage import KEY, Result, Stage

from batch.store import sqlite


def report(done: Result) -> dict[str, list[tuple[str, str]]]:
    """Per check: state and text of its findings."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in done.json():
        assert set(one) == {"check", "state", "text", "advice"}
        # Whoever says that something is wrong says what to do.
        told = one["advice"] or re.search("[:;] ", one["text"])
        assert one["state"] != "wrong" or told
        found.setdefault(one["check"], []).append((one["state"], one["text"]))
    return found


def wrong(done: Result) -> dict[str, str]:
    """The checks that found something wrong, with the first of its words."""
    found = report(done).items()
    return {
        check: text
        for check, findings in found
        for state, text in findings
        if state == "wrong"
    }


def database(stage: Stage) -> Path:
    return stage.home / "quotabatch.db"


def change(stage: Stage, sql: str) -> None:
    with closing(sqlite3.connect(database(stage))) as connection:
        connection.execute(sql)
        connection.commit()


def test_a_healthy_house_is_found_in_order_and_no_call_is_made(stage: Stage):
    served = stage.serve()
    stage.submit(["eins", "zwei"])
    assert stage.quick("run").code == 0

    done = stage.quick("doctor", "--json")

    assert done.code == 0, done.out
    found = report(done)
    assert wrong(done) == {}
    for check in ("database", "books", "sqlite", "disk", "zones", "keys", "endpoint"):
        assert found[check][0][0] == "ok"
    assert "agree" in found["clock"][0][1]
    assert served.count == 2
    assert KEY not in done.out + done.err


def test_it_reads_well_on_a_terminal_too(stage: Stage):
    stage.serve()
    done = stage.quick("doctor")
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert all(line.startswith(("ok ", "note ")) for line in lines)
    assert any("none yet" in line for line in lines)
    # Looking makes nothing.
    assert not database(stage).exists()


def test_it_leaves_a_deletion_that_was_interrupted_as_it_is(stage: Stage):
    stage.serve()
    stage.submit(["eins", "zwei"])
    change(stage, "UPDATE jobs SET submission = 'withdrawn'")

    assert stage.quick("doctor").code == 0

    with closing(sqlite3.connect(database(stage))) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (2,)


def test_only_call_makes_a_call_and_its_credit_is_counted(stage: Stage):
    served = stage.serve(limit=5)
    done = stage.quick("doctor", "--call", "--json")
    assert done.code == 0, done.out
    [(state, text)] = report(done)["call"]
    assert state == "ok"
    assert "answers" in text
    assert served.count == 1
    assert stage.ledger()["used"] == 1
    # It leaves no job behind.
    assert stage.quick("status", "--json").json() == []


def test_a_call_that_is_refused_is_told_of(stage: Stage):
    served = stage.serve(keys=frozenset({"another"}))
    done = stage.quick("doctor", "--call", "--json")
    assert done.code == 1
    assert "4003" in wrong(done)["call"] or "key" in wrong(done)["call"]
    assert served.count == 1


def test_no_call_is_made_where_no_credit_is_left(stage: Stage):
    served = stage.serve(limit=1)
    stage.submit(["eins"])
    assert stage.quick("run").code == 0
    done = stage.quick("doctor", "--call", "--json")
    assert done.code == 1
    assert "credit" in wrong(done)["call"]
    assert served.count == 1


def test_a_missing_key_and_a_dead_endpoint_are_named_with_what_to_do(stage: Stage):
    done = stage.quick(
        "doctor",
        "--json",
        env={
            "ESPAI_API_KEY": None,
            "QUOTABATCH_BASE_URL": "http://127.0.0.1:9/v1",
        },
    )
    assert done.code == 1
    found = wrong(done)
    assert set(found) == {"keys", "endpoint"}
    assert "no key for espai" in found["keys"]
    assert "127.0.0.1:9" in found["endpoint"]


@pytest.mark.fault(54)
def test_what_others_can_read_is_reported(stage: Stage):
    stage.serve()
    stage.submit(["eins"])
    assert stage.quick("keys", "set", stdin=b"sk-another-key-of-mine\n").code == 0
    for path, mode in (
        (stage.home, 0o755),
        (database(stage), 0o644),
        (stage.home / "keys.json", 0o644),
    ):
        path.chmod(mode)
    done = stage.quick("doctor")
    assert done.code == 1
    for path, mode in ((stage.home, 700), (database(stage), 600)):
        assert f"chmod {mode} {path}" in done.out
    assert (
        f"WRONG  keys       other users of this machine can read {stage.home}/keys"
        in (done.out)
    )


@pytest.mark.fault(54)
@pytest.mark.parametrize("words", [("run",), ("keys", "list"), ("doctor",)])
@pytest.mark.long
def test_a_key_file_that_others_can_read_is_told_of(stage: Stage, words):
    stage.serve()
    stage.submit(["eins"])
    del stage.env["ESPAI_API_KEY"]
    assert stage.quick("keys", "set", stdin=b"sk-another-key-of-mine\n").code == 0
    file = stage.home / "keys.json"
    before = stage.quick(*words)
    file.chmod(0o640)
    stage.submit(["zwei"])
    after = stage.quick(*words)
    assert str(file) not in before.err
    assert f"chmod 600 {file}" in after.out + after.err


@pytest.mark.long
def test_a_clock_that_is_off_is_told_by_how_much(stage: Stage):
    stage.serve()
    done = stage.run("doctor", "--json", later=timedelta(hours=3))
    assert done.code == 1
    assert re.search(r"10,[78]\d\d s ahead of espai's", wrong(done)["clock"])


@pytest.mark.fault(12)
def test_a_damaged_database_is_found_and_left_as_it_is(stage: Stage):
    stage.serve()
    stage.submit([f"frage {n} " + "x" * 500 for n in range(300)])
    path = database(stage)
    change(stage, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    page = 4096
    for start in range(20 * page, len(data) - page, page):
        data[start : start + 64] = b"\xa5" * 64
    path.write_bytes(data)
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    done = stage.quick("doctor", "--json")

    assert done.code == 1
    assert "damaged" in wrong(done)["database"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_foreign_file_is_no_reason_to_stop_looking(stage: Stage):
    stage.serve()
    database(stage).write_bytes(b"not a database at all, but some text\n" * 50)
    done = stage.quick("doctor", "--json")
    assert done.code == 1
    assert "not a quotabatch database" in wrong(done)["database"]
    assert report(done)["endpoint"][0][0] == "ok"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE windows SET used = used - 1", "its entries 3"),
        ("DELETE FROM results WHERE request_id = 1", "completed without an answer"),
        ("UPDATE requests SET attempts = 7 WHERE id = 2", "attempts are not its calls"),
        ("UPDATE jobs SET credits = 1", "do not add up"),
        ("UPDATE requests SET state = 'pending' WHERE id = 3", "before its end"),
        ("UPDATE requests SET runner_id = 1 WHERE id = 3", "held though not running"),
        ("UPDATE requests SET state = 'failed' WHERE id = 3", "without an error"),
        ("UPDATE entries SET state = 'released' WHERE id = 1", "not its calls"),
    ],
)
@pytest.mark.long
def test_books_that_do_not_agree_are_found(stage: Stage, sql, words):
    stage.serve()
    stage.submit(["eins", "zwei", "drei"])
    assert stage.quick("run").code == 0
    change(stage, sql)
    done = stage.quick("doctor", "--json")
    assert done.code == 1
    found = [text for _, text in report(done)["books"]]
    assert any(words in text for text in found), found


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((4, 0, 0), False),
    ],
)
def test_the_versions_of_sqlite_with_the_bug_are_known(version, has_it):
    assert sqlite.has_reset_bug(version) is has_it


def test_a_database_that_was_named_and_is_not_there_is_not_made(stage: Stage):
    stage.serve()
    stage.submit(["eins"])
    for words in (["status"], ["run"], ["export", "1"], ["quota"], ["pause", "1"]):
        done = stage.quick(*words, "--db", "tpyo.db")
        assert done.code == 2, words
        assert "there is no database" in done.err
        assert "tpyo.db" in done.err
        assert not list(stage.folder.glob("tpyo*"))
