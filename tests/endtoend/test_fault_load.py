"""Large work beside a run: an import does not starve it, a slow reader does not make
the log grow.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from typing import IO, Any

import pytest
from stage import MODEL, Stage, wait_until
from truth import holds

MIB = 1024 * 1024


class Lines(threading.Thread):
    """Writes lines of a dataset into a pipe, as many as it takes, until the end."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self._pipe = pipe
        self._ends = threading.Event()
        self.count = 0
        self.start()

    def run(self) -> None:
        with self._pipe:
            while not self._ends.is_set():
                some = range(self.count, self.count + 500)
                rows = [json.dumps({"prompt": f"zeile {n}"}) + "\n" for n in some]
                self._pipe.write("".join(rows).encode())
                self.count = some.stop

    def end(self) -> int:
        """Write no more; how many there were."""
        self._ends.set()
        self.join()
        return self.count


@pytest.mark.long
@pytest.mark.fault(19)
def test_a_large_import_and_a_run_do_not_lock_each_other_out(stage: Stage):
    served = stage.serve(limit=None)
    job = stage.submit([f"frage {n}" for n in range(300)])
    importing = stage.start("submit", "-", "--model", MODEL, stdin=subprocess.PIPE)
    # As fast as it takes them, until the run beside it is over.
    lines = Lines(importing.popen.stdin)
    wait_until(lambda: lines.count > 20_000, "the import")

    run = stage.run("run", job)

    assert run.code == 0, run.err
    assert "locked" not in run.err
    assert importing.popen.poll() is None
    number = lines.end()
    imported = importing.end()
    assert imported.code == 0, imported.err
    assert stage.counts(imported.out.strip()) == {"total": number, "pending": number}
    found = holds(stage, served)
    assert len(found.answered) == served.count == 300


@pytest.mark.fault(20)
@pytest.mark.long
def test_a_slow_export_beside_a_run_is_whole_and_keeps_the_log_small(stage: Stage):
    def answer(body: Mapping[str, Any]) -> str:
        prompt = body["message"][-1]["content"]
        return f"{prompt} " + "x" * (MIB // 2 if prompt.startswith("lang") else 300)

    served = stage.serve(limit=None, answer=answer)
    first = stage.submit([f"kurz {n}" for n in range(600)])
    assert stage.quick("run", "--concurrency", 32).code == 0
    out, into = os.pipe()
    exporting = stage.start("export", first, stdout=into)
    os.close(into)
    with os.fdopen(out, encoding="utf-8", newline="\n") as pipe:
        lines = [pipe.readline()]
        # The pipe is full, and nobody reads on while the other job is answered.
        stage.submit([f"lang {n}" for n in range(24)])
        running = stage.start("run", "--concurrency", 4)
        log, sizes = stage.home / "quotabatch.db-wal", [0]

        def is_over() -> bool:
            sizes.append(log.stat().st_size if log.exists() else 0)
            return running.popen.poll() is not None

        wait_until(is_over, "the end of the run")
        assert running.end().code == 0
        assert exporting.popen.poll() is None
        lines += pipe.readlines()
    assert exporting.end().code == 0
    # Some 12 MB went through it.
    assert max(sizes) < 8 * MIB
    assert [json.loads(line)["completion"] for line in lines] == [
        served.answer_to(f"kurz {n}") for n in range(600)
    ]
    holds(stage, served)
