"""A connection pooler between: every transaction may be on another connection."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pgserver import Cluster, cluster
from stage import Stage, wait_until

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not shutil.which("pgbouncer"), reason="needs pgbouncer"),
]
RUNNERS = 3


@contextmanager
def pgbouncer(folder: Path, server: Cluster, database: str) -> Iterator[str]:
    """A pgbouncer in transaction mode with few connections; the URL to it."""
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={server.socket} user=postgres\n"
        f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_addr =\n"
        "listen_port = 6432\nauth_type = any\npool_mode = transaction\n"
        # Fewer than the runs have: each is given to whoever asks next.
        "default_pool_size = 3\n"
        f"logfile = {folder}/log\npidfile = {folder}/pid\n"
    )
    words = ["pgbouncer", str(settings)]
    # It refuses to run as root, as the server does.
    if os.getuid() == 0:
        owner = (server.folder / "data").owner()
        words += ["-u", owner]
        for path in (folder, settings):
            shutil.chown(path, owner)
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until((folder / ".s.PGSQL.6432").exists, "pgbouncer")
        yield (
            f"postgresql+psycopg://postgres@:6432/{database}?host={folder}&pgbouncer=1"
        )
    finally:
        process.terminate()
        process.wait(30)


def test_runs_share_a_queue_through_a_pooler_in_transaction_mode(stage: Stage):
    served = stage.serve(limit=150)
    # The folders of a test are closed to the pooler's user, and their paths may be
    # longer than that of a socket can be.
    with cluster() as server, tempfile.TemporaryDirectory() as folder:
        name = server.create()
        with pgbouncer(Path(folder), server, name) as url:
            stage.env["QUOTABATCH_DB"] = url
            assert stage.quick("db", "upgrade").code == 0
            job = stage.submit([f"p{n}" for n in range(200)])
            runs = [stage.start("run", "--concurrency", 8) for _ in range(RUNNERS)]
            ended = [run.end() for run in runs]
            assert [one.code for one in ended] == [75] * RUNNERS, ended
            assert served.count == 150
            assert stage.counts(job)["completed"] == 150
            assert len(stage.export(job)) == 200
            done = stage.quick("db", "check")
            assert done.code == 0, done.out + done.err
