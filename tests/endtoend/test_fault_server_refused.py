"""A server that cannot be used, and URLs that name none: one line each, which says what
to do, and never a password.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from machines import Machines
from pgserver import Cluster
from stage import MODEL, Stage
from truth import plain

from batch.store.revisions import REVISION

#: A password that must be found nowhere.
SECRET = "pw-CANARY-d41d8cd9"
#: As it stands in a URL that quotes it.
QUOTED = SECRET.replace("-", "%2D")


def refused(stage: Stage, url: str, code: int) -> str:
    """A command says in one line why it cannot use this database."""
    stage.env["QUOTABATCH_DB"] = url
    told = stage.quick("--debug", "status")
    done = stage.quick("status")
    for one in (told, done):
        assert one.code == code, one.err
        secretive(one.out + one.err)
    return plain(done)


def secretive(text: str) -> None:
    assert SECRET not in text
    assert QUOTED not in text


UNUSABLE = [
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
        69,
        "cannot be reached",
        id="refused",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@no-such-host.invalid/db",
        69,
        "cannot be reached",
        id="unknown-host",
    ),
    pytest.param(
        f"postgresql://me@127.0.0.1:1/db?password={QUOTED}",
        69,
        "cannot be reached",
        id="in-the-query",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@/db?host=/nowhere-at-all",
        69,
        "cannot be reached",
        id="no-socket",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@host:port/db",
        78,
        "not a URL",
        id="malformed-port",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@[::1/db", 78, "not a URL", id="bracket"
    ),
    pytest.param(
        f"postgresql+psycopg://:{SECRET}@host",
        78,
        "names no database",
        id="no-database",
    ),
    pytest.param(
        f"mysql://me:{SECRET}@host/db", 78, "is not spoken", id="another-kind"
    ),
    pytest.param(
        f"postgresql+asyncpg://me:{SECRET}@host/db",
        78,
        "is not spoken",
        id="another-driver",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db?nonsense=1",
        78,
        "nonsense",
        id="unknown-parameter",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db?sslmode=bogus",
        78,
        "sslmode",
        id="bad-value",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1/db?port=none",
        78,
        "check host and port",
        id="port-in-the-query",
    ),
    pytest.param(
        f"postgresql+psycopg://me:{SECRET}@/db?host=/x&host=/y&port=1",
        69,
        "cannot be reached",
        id="two-hosts",
    ),
]


@pytest.mark.parametrize(("url", "code", "says"), UNUSABLE)
@pytest.mark.long
def test_a_server_that_cannot_be_used_is_one_line_without_the_password(
    stage: Stage, url, code, says
):
    error = refused(stage, url, code)
    assert says in error
    # The driver's own page of advice is not repeated.
    assert len(error) < 300


@pytest.mark.long
def test_no_command_shows_the_password_of_a_server_that_is_away(stage: Stage):
    served = stage.serve()
    stage.env["QUOTABATCH_DB"] = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db"
    rows = stage.write("rows.txt", "a\n")
    for words, code in (
        (("submit", rows, "--model", MODEL), 69),
        (("run",), 69),
        (("export", 1), 69),
        (("quota",), 69),
        (("cancel", 1), 69),
        (("doctor",), 1),
        (("config",), 0),
        (("schedule", "print"), 69),
    ):
        done = stage.quick(*words)
        secretive(done.out + done.err)
        assert done.code == code, (words, done.err)
        if code == 69:
            assert "cannot be reached" in plain(done)
    assert served.count == 0
    nowhere(stage)


def nowhere(stage: Stage) -> None:
    """The password is in no file of the user's."""
    for path in stage.folder.rglob("*"):
        if path.is_file():
            secretive(path.read_text("utf-8", "replace"))


@pytest.mark.long
def test_a_wrong_password_and_a_wrong_database_are_said(machines: Machines):
    stage, cluster = machines.machine(), machines.cluster
    served = stage.serve()
    hba = Path(cluster.execute("SHOW hba_file")[0][0])
    hba.write_text(f"local all locked scram-sha-256\n{hba.read_text()}")
    cluster.execute("CREATE ROLE locked LOGIN PASSWORD 'another'")
    cluster.execute("SELECT pg_reload_conf()")

    wrong = machines.url.replace("postgres@", f"locked:{SECRET}@")
    error = refused(stage, wrong, 1)
    assert "lets us not in" in error
    assert "password" in error
    stranger = machines.url.replace("postgres@", f"nobody:{SECRET}@")
    assert "lets us not in" in refused(stage, stranger, 1)

    none = cluster.url("nowhere").replace("postgres@", f"postgres:{SECRET}@")
    error = refused(stage, none, 1)
    assert '"nowhere" does not exist' in error
    assert "createdb" in error
    assert served.count == 0


@pytest.mark.fault(12)
@pytest.mark.long
def test_a_database_without_our_schema_is_not_written_to(
    stage: Stage, cluster: Cluster
):
    served = stage.serve()
    name = cluster.create()
    assert "quotabatch db upgrade" in refused(stage, cluster.url(name), 1)
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert cluster.execute(count, name) == [(0,)]

    # Another program's.
    cluster.execute("CREATE TABLE alembic_version (version_num text)", name)
    cluster.execute("INSERT INTO alembic_version VALUES ('ae1027a6acf')", name)
    assert "of another program" in refused(stage, cluster.url(name), 1)
    assert cluster.execute(count, name) == [(1,)]
    assert served.count == 0


@pytest.mark.fault(13)
@pytest.mark.long
def test_a_schema_of_another_version_is_refused_either_way(
    stage: Stage, shared: Machines
):
    served = stage.serve()
    stage.submit("a")
    shared.rows("UPDATE alembic_version SET version_num = '0001'")
    older = refused(stage, shared.url, 1)
    assert "older quotabatch (0001" in older
    assert "db upgrade" in older
    shared.rows("UPDATE alembic_version SET version_num = '9999'")
    newer = refused(stage, shared.url, 1)
    assert "newer quotabatch" in newer
    assert "upgrade quotabatch" in newer
    shared.rows(f"UPDATE alembic_version SET version_num = '{REVISION}'")
    assert served.count == 0
    assert stage.quick("run").code == 0


@pytest.mark.long
def test_a_missing_driver_is_one_line_that_says_how_to_get_it(
    machines: Machines,
):
    stage = machines.machine()
    # As on a machine where the extra was not installed.
    program = (
        "import sys; sys.modules['psycopg'] = None; from batch.cli.app import call; "
        "sys.argv = ['quotabatch', 'status']; sys.exit(call())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **stage.environ()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"Error: .* needs the PostgreSQL driver: "
        r"pip install 'quotabatch\[postgres\]'\n",
        done.stderr,
    )


@pytest.mark.long
def test_the_password_of_a_server_that_is_used_is_shown_nowhere(
    machines: Machines,
):
    stage = machines.machine()
    stage.serve()
    url = machines.url.replace("postgres@", f"postgres:{SECRET}@")
    stage.env["QUOTABATCH_DB"] = url
    rows = stage.write("rows.txt", "a\n")
    for words in (
        ("--debug", "submit", rows, "--model", MODEL),
        ("--debug", "run"),
        ("config",),
        ("config", "--json"),
        ("doctor",),
        ("schedule", "print"),
        ("status",),
        ("export", 1),
    ):
        done = stage.quick(*words)
        secretive(done.out + done.err)
    nowhere(stage)
