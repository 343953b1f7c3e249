"""Each of the example jobs, from its file to its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import Stage

from batch.jobfile import read_jobfile
from batch.places import carried

JOBS = sorted(carried("jobs").glob("*.toml"))


def test_there_are_example_jobs_with_more_than_two_hundred_rows(stage: Stage):
    assert len(JOBS) >= 4
    formats = {read_jobfile(path).dataset.suffix for path in JOBS}
    assert {".jsonl", ".csv"} <= formats


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
@pytest.mark.long
def test_an_example_job_is_submitted_run_and_exported(stage: Stage, path: Path):
    served = stage.serve(limit=10_000)
    submitted = stage.quick("submit", path, "--json")
    assert submitted.code == 0, submitted.err
    receipt = submitted.json()
    assert receipt["requests"] >= 20
    assert (receipt["duplicates"], receipt["bad_lines"]) == (0, 0)

    done = stage.quick("run", "--concurrency", 16)

    assert done.code == 0, done.err
    assert served.count == receipt["requests"] == len(set(served.prompts))
    assert {call.model for call in served.calls} == {receipt["model"]}
    results = stage.export(receipt["job"])
    assert len({one["custom_id"] for one in results}) == len(results) == served.count
    assert {one["status"] for one in results} == {"completed"}
    answers = {one["completion"] for one in results}
    assert answers == {
        served.answer_to(call.prompt, call.model) for call in served.calls
    }
    # What jinja leaves behind where a template is wrong.
    assert not [p for p in served.prompts if "{{" in p or "None" in p or not p.strip()]
