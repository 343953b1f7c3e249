"""Moving to a server and back, and what is done to a database as a whole."""

from __future__ import annotations

import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pgserver import TOOLS, Cluster, cluster
from stage import KEY, Result, Stage, wait_until

#: A password that must be found nowhere.
SECRET = "CANARY-pw-5d1f"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server that keeps what it is given, and lets `canary` in with a password."""
    with cluster() as running:
        rules = running.folder / "data" / "pg_hba.conf"
        rules.write_text(
            f"local all canary scram-sha-256\n{rules.read_text('utf-8')}", "utf-8"
        )
        running.execute(f"CREATE ROLE canary LOGIN PASSWORD '{SECRET}'")
        running.execute("SELECT pg_reload_conf()")
        yield running


def prompts(number: int) -> list[str]:
    return [f"问题 {n}" for n in range(1, number + 1)]


def upgraded(stage: Stage, server: Cluster) -> str:
    """The URL of a new database with our tables."""
    url = server.url(server.create())
    done = stage.quick("db", "upgrade", "--db", url)
    assert (done.code, done.out) == (0, ""), done.err
    assert "is ready: schema " in done.err
    return url


def line(done: Result) -> str:
    """The one line that an error is."""
    assert done.out == ""
    assert re.fullmatch(r"Error: [^\n]+\n", done.err), done.err
    return done.err


@pytest.mark.long
def test_a_user_moves_to_a_server_and_nothing_is_asked_twice(
    stage: Stage, server: Cluster
):
    served = stage.serve()
    file = stage.home / "quotabatch.db"
    job = stage.submit(prompts(30))
    assert stage.quick("run", "--max-calls", 12).code == 75
    url = server.url(server.create())

    refused = line(stage.quick("db", "copy", file, url))
    assert "has no schema of quotabatch's: `quotabatch db upgrade" in refused
    stage.quick("db", "upgrade", "--db", url)
    done = stage.quick("db", "copy", file, url)

    assert (done.code, done.out) == (0, ""), done.err
    told = done.err
    assert f"{file} is copied to {url}: 1 job, 30 requests, 12 answers, 12" in told
    assert "the totals of both sides agree" in told
    assert "are counted in" in told
    assert "QUOTABATCH_DB" in told
    # The file is as it was, but for a run.
    assert stage.counts(job) == {"total": 30, "completed": 12, "pending": 18}
    again = stage.quick("run")
    assert again.code == 78
    # The run says first that it goes to another host than the profile's.
    called, refusal = again.err.splitlines()
    assert called.startswith("espai at 127.0.0.1:")
    assert refusal.startswith("Error: ")
    assert "counted in postgresql://" in refusal
    assert served.count == 12
    assert "holds jobs or credits of its own" in line(
        stage.quick("db", "copy", file, url)
    )

    stage.env["QUOTABATCH_DB"] = url
    assert stage.quick("run").code == 0
    assert sorted(served.prompts) == sorted(prompts(30))
    exported = stage.export(job)
    assert [one["completion"] for one in exported] == [
        served.answer_to(one) for one in prompts(30)
    ]
    checked = stage.quick("db", "check")
    assert checked.code == 0, checked.out
    assert "schema" in checked.out

    # And back into a file.
    back = stage.folder / "back.db"
    assert stage.quick("db", "copy", url, back).code == 0
    stage.env["QUOTABATCH_DB"] = str(back)
    assert stage.export(job) == exported
    assert stage.ledger()["used"] == 30
    assert stage.quick("db", "check").code == 0
    assert stage.submit(prompts(1)) == 2
    assert stage.quick("run").code == 0
    assert served.count == 31


#: What waits where the first answer is written, for as long as somebody has its lock.
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
CREATE TRIGGER hold BEFORE INSERT ON results EXECUTE FUNCTION hold()
"""
HELD = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.long
def test_a_copy_that_was_killed_begins_anew(
    stage: Stage, server: Cluster, number: signal.Signals
):
    stage.serve()
    file = stage.home / "quotabatch.db"
    job = stage.submit(prompts(30))
    assert stage.quick("run").code == 0
    exported = stage.export(job)
    url = upgraded(stage, server)

    with psycopg.connect(psycopg_url(url), autocommit=True) as connection:
        connection.execute(HOLD)
        connection.execute("SELECT pg_advisory_lock(77)")
        copy = stage.start("db", "copy", file, url)
        wait_until(lambda: connection.execute(HELD).fetchone() == (1,), "the copy")
        copy.signal(number)
        ended = copy.end()
        connection.execute("SELECT pg_advisory_unlock(77)")
        connection.execute("DROP FUNCTION hold CASCADE")
    if number == signal.SIGINT:
        assert ended.code == 130
        assert "the same command begins anew" in ended.err
        assert "Traceback" not in ended.err

    # Nothing of it is there, and where it came from all is as it was.
    there = stage.quick("status", "--db", url)
    assert (there.code, there.out) == (0, ""), there
    assert stage.quick("db", "check", "--db", url).code == 0
    assert stage.quick("run").code == 0
    done = stage.quick("db", "copy", file, url)
    assert done.code == 0, done.err
    stage.env["QUOTABATCH_DB"] = url
    assert stage.export(job) == exported


def psycopg_url(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.mark.long
def test_a_backup_is_made_while_a_run_is_at_work(stage: Stage, server: Cluster):
    served = stage.serve(latency=0.02)
    job = stage.submit(prompts(40))
    run = stage.start("run", "--concurrency", 2)
    backup = stage.folder / "backup.db"
    wait_until(lambda: served.count >= 5, "the first calls")
    done = stage.quick("db", "backup", backup)
    assert done.code == 0, done.err
    assert "1 job, 40 requests" in done.err
    assert run.end().code == 0
    assert served.count == 40
    # A database like any other, as it was then.
    assert stage.quick("db", "check", "--db", backup).code == 0
    there = stage.quick("status", job, "--json", "--db", backup).json()["counts"]
    assert there["total"] == 40
    assert there["completed"] < 40
    assert "--force" in line(stage.quick("db", "backup", backup))


@pytest.mark.long
def test_a_servers_backup_is_written_by_its_own_tool(stage: Stage, server: Cluster):
    url = upgraded(stage, server)
    stage.serve()
    stage.env["QUOTABATCH_DB"] = url
    job = stage.submit(prompts(3))
    dump = stage.folder / "backup.dump"
    path = f"{TOOLS}:{os.environ['PATH']}"
    done = stage.quick("db", "backup", dump, env={"PATH": path})
    assert done.code == 0, done.err
    name = server.create()
    where = psycopg_url(server.url(name))
    subprocess.run([TOOLS / "pg_restore", "-d", where, dump], check=True)
    stage.env["QUOTABATCH_DB"] = server.url(name)
    assert stage.counts(job) == {"total": 3, "pending": 3}
    missing = stage.quick("db", "backup", stage.folder / "b", env={"PATH": "/nowhere"})
    assert "install PostgreSQL's client programs" in line(missing)


@pytest.mark.long
def test_a_password_is_shown_nowhere(stage: Stage, server: Cluster):
    stage.serve()
    stage.submit(prompts(2))
    file = stage.home / "quotabatch.db"
    name = server.create()
    server.execute(f"ALTER DATABASE {name} OWNER TO canary")
    url = server.url(name).replace("postgres@", f"canary:{SECRET}@")
    outside = f"{server.url(name).replace('postgres@', 'canary@')}&password="
    path = {"PATH": f"{TOOLS}:{os.environ['PATH']}"}
    dump = stage.folder / "b.dump"
    good = [
        ("db", "upgrade", "--db", outside + SECRET),
        ("db", "copy", file, url),
        ("db", "backup", dump, "--db", url),
        ("db", "check", "--db", url),
        ("status", "--db", url),
    ]
    wrong = url.replace(SECRET, f"{SECRET}-wrong")
    away = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/prompts"
    nobody = f"mysql://me:{SECRET}@127.0.0.1/prompts"
    nothing = url.replace(name, "nothing")
    bad = [
        (1, "create it: createdb", nothing),
        (69, "cannot be reached", away),
        (1, "password authentication failed", wrong),
        (1, "password authentication failed", f"{outside}{SECRET}-wrong"),
        (2, "mysql:// is not spoken", nobody),
    ]
    said = ""
    for words in good:
        done = stage.quick(*words, env=path)
        assert done.code == 0, done.err
        said += done.out + done.err
    for code, words, place in bad:
        for command in (["db", "upgrade", "--db", place], ["db", "copy", file, place]):
            done = stage.quick(*command)
            assert words in line(done)
            assert done.code == code
            said += done.err
    for command in (
        ["db", "backup", stage.folder / "c.dump", "--db", wrong],
        ["db", "copy", wrong, file],
        ["db", "check", "--db", wrong],
        ["db", "check", "--db", nobody],
    ):
        done = stage.quick(*command, env=path)
        assert done.code != 0
        said += done.out + done.err
    assert "CANARY" not in said.replace(KEY, "")
    for found in stage.folder.rglob("*"):
        if found.is_file():
            assert SECRET.encode() not in found.read_bytes(), found


@pytest.mark.long
def test_the_bar_is_shown_on_a_terminal_alone(stage: Stage):
    stage.serve()
    stage.submit(prompts(150))
    file, target = stage.home / "quotabatch.db", stage.folder / "target.db"
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(
            stage.command("db", "copy", file, target),
            env=stage.environ({"TERM": "xterm", "COLUMNS": "90"}),
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        os.close(theirs)
        shown = b""
        try:
            while piece := terminal.read(65536):
                shown += piece
        except OSError:
            # That is how a terminal ends.
            assert sys.platform == "linux"
    assert done.returncode == 0
    assert re.search(rb"copying \w+ .*\d+/\d+.*rows", shown)
    assert b"150 requests" in shown


@pytest.mark.parametrize(
    ("sql", "check", "said"),
    [
        ("DROP INDEX ix_results_asked", "schema", "the index ix_results_asked of"),
        ("DELETE FROM jobs", "pages", "a row of requests refers to one that is not"),
        ("UPDATE jobs SET credits = 9", "books", "job prompts whose calls do not add"),
    ],
)
@pytest.mark.long
def test_what_is_wrong_with_a_database_is_found(stage: Stage, sql, check, said):
    stage.serve()
    stage.submit(prompts(2))
    assert stage.quick("db", "check").code == 0
    with closing(sqlite3.connect(stage.home / "quotabatch.db")) as connection:
        connection.execute(sql)
        connection.commit()
    done = stage.quick("db", "check", "--json")
    assert done.code == 1
    (wrong,) = [one for one in done.json() if one["state"] == "wrong"]
    assert wrong["check"] == check
    assert said in wrong["text"]
    assert wrong["advice"]


@pytest.mark.long
def test_what_cannot_be_is_one_line_that_says_what_to_do(stage: Stage):
    stage.serve()
    stage.submit(prompts(1))
    file = stage.home / "quotabatch.db"
    foreign = stage.write("letters.txt", "not a database" * 100)
    folder = stage.folder
    cases: list[tuple[int, str, list[object]]] = [
        (2, "there is no database", ["db", "copy", folder / "no.db", folder / "x.db"]),
        (2, "source and target in one", ["db", "copy", file, file]),
        (1, "not a quotabatch database", ["db", "copy", file, foreign]),
        (1, "not a quotabatch database", ["db", "copy", foreign, folder / "x.db"]),
        (2, "a file of quotabatch's own", ["db", "backup", file, "--force"]),
        (1, "exists already", ["db", "backup", foreign]),
        (1, "not a quotabatch database", ["db", "upgrade", "--db", foreign]),
        (2, "there is no database", ["db", "check", "--db", folder / "no.db"]),
    ]
    for code, words, command in cases:
        done = stage.quick(*command)
        if command[1] == "check":
            assert done.code == 1
            assert words in done.out
            continue
        assert words in line(done), command
        assert done.code == code, command
    assert Path(foreign).read_text() == "not a database" * 100
    assert "up to date (schema" in stage.quick("db", "upgrade").err
