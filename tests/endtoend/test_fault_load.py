"""Large work beside a run: an import does not starve it, a slow reader does not make
the log grow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from stage import MODEL, Stage, wait_until
from truth import holds

MIB = 1024 * 1024


@pytest.mark.long
@pytest.mark.fault(19)
def test_a_large_import_and_a_run_do_not_lock_each_other_out(stage: Stage):
    lines = 400_000
    served = stage.serve(limit=None)
    rows = (json.dumps({"prompt": f"zeile {n}"}) for n in range(lines))
    path = stage.write("rows.jsonl", "\n".join(rows) + "\n")
    job = stage.submit([f"frage {n}" for n in range(300)])
    importing = stage.start("submit", path, "--model", MODEL)
    wait_until(lambda: (stage.home / "quotabatch.db-wal").exists(), "the import")

    run = stage.run("run", job)

    assert run.code == 0, run.err
    assert "locked" not in run.err
    beside = importing.popen.poll() is None
    imported = importing.end()
    assert imported.code == 0, imported.err
    # Else it was no race.
    assert beside
    assert stage.counts(imported.out.strip()) == {"total": lines, "pending": lines}
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
