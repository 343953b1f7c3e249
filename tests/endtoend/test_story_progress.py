"""Rows, models and jobs that cannot be answered hold up no other, and cost little.

Counted by the endpoint.
"""

from __future__ import annotations

import json
import re
import socket
from collections import Counter

import pytest
from rawserver import (
    HEAD,
    RawServer,
    Request,
    Script,
    chunked,
    sends,
    whole,
)
from stage import MODEL, Stage
from test_story_non_answers import PAGE, answers

MOST_CALLS = 45 + 3 * 6 + 10

#: By the row that is never answered: what the endpoint sends for it.
NEVER_ANSWERED: dict[str, Script] = {
    "6": sends(chunked(["床前明月光".encode()], end=b"")),
    "7": sends(whole(PAGE, HEAD.replace(b"text/plain", b"text/html"))),
    "8": sends(whole("")),
    "9": sends(whole("déjà vu".encode("latin-1"))),
    "10": sends(whole('{"success": false, "message": "系统错误", "code": 500}')),
    "11": sends(whole('{"success": false, "message": "超体已停用", "code": 4000}')),
}


def by_row(connection: socket.socket, request: Request) -> None:
    NEVER_ANSWERED.get(request.prompt, answers)(connection, request)


def served(stage: Stage, script: Script, limit: int = 1000) -> RawServer:
    """Put an endpoint of bytes in the place of the provider."""
    server: RawServer = stage.keep(RawServer(script))
    stage.configure(limit=limit)
    stage.env["QUOTABATCH_BASE_URL"] = server.url
    return server


@pytest.mark.long
def test_a_stretch_of_rows_that_are_never_answered_holds_up_no_other(stage: Stage):
    server = served(stage, by_row)
    job = stage.submit([str(n) for n in range(1, 52)], "--max-attempts", 3)

    codes = []
    for _ in range(3):
        codes.append(stage.quick("run", "--concurrency", 3).code)
        if codes[-1] == 1:
            break

    # Each run says that requests failed, none that the service is down for good.
    assert codes[-1] == 1
    assert set(codes[:-1]) <= {69}
    assert server.count <= MOST_CALLS
    asked = Counter(server.prompts)
    assert max(asked.values()) <= 3
    assert {row for row, times in asked.items() if times > 1} <= set(NEVER_ANSWERED)
    assert stage.counts(job) == {"total": 51, "completed": 45, "failed": 6}
    failed = [one for one in stage.export(job) if one["status"] == "failed"]
    assert {one["input"]["prompt"] for one in failed} == set(NEVER_ANSWERED)
    assert {one["error"]["code"] for one in failed} == {
        "cut",
        "html",
        "empty",
        "not_text",
        "endpoint_error",
    }
    assert stage.ledger()["used"] == server.count
    # What is settled is not asked again.
    before = server.count
    assert stage.quick("run").code == 0
    assert server.count == before


@pytest.mark.long
def test_a_job_whose_answers_are_all_invalid_stops_and_another_goes_on(stage: Stage):
    endpoint = stage.serve()
    rows = [f"kein JSON {n}" for n in range(30)]
    invalid = stage.submit(rows, "--name", "reviews", "--expect-json", "--priority", 1)
    other = stage.submit([f"gut {n}" for n in range(5)], "--name", "other")

    done = stage.quick("run", "--concurrency", 2)

    def calls() -> int:
        return sum(prompt.startswith("kein JSON") for prompt in endpoint.prompts)

    assert done.code == 1
    assert f"job {invalid} (reviews): the first answers are all invalid" in done.err
    assert f"`quotabatch retry {invalid} --invalid` asks again with" in done.err
    assert f"`quotabatch run {invalid} --allow-invalid` continues" in done.err
    assert 10 <= (first := calls()) <= 11
    assert stage.counts(other) == {"total": 5, "completed": 5}
    counts = stage.counts(invalid)
    assert (counts["completed"], counts["invalid"]) == (first, first)
    assert counts["pending"] == 30 - first
    assert f"{first} invalid" in done.err

    # Nothing has changed: a few are enough.
    done = stage.quick("run", "--concurrency", 2)
    assert done.code == 1
    assert "the first answers are all invalid" in done.err
    assert 3 <= calls() - first <= 4

    # What was said then can be done.
    done = stage.quick("retry", invalid, "--invalid", "--param", "temperature=0")
    assert (done.code, stage.counts(invalid).get("invalid")) == (0, None)
    first = calls()

    done = stage.quick("run", invalid, "--allow-invalid")
    assert done.code == 1
    assert calls() - first == 30
    assert stage.counts(invalid)["invalid"] == 30


def refusal(status: str, body: object) -> Script:
    data = json.dumps(body)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    return sends(whole(data, head.encode()))


REFUSALS = {
    "404": refusal("404 Not Found", {"error": {"message": "model 'bad' not found"}}),
    "403": refusal(
        "403 Forbidden",
        {"error": {"message": "You do not have access to the model bad"}},
    ),
    "400": refusal(
        "400 Bad Request",
        {
            "error": {
                "message": "Invalid model name passed in model=bad",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        },
    ),
    "402": refusal(
        "402 Payment Required", {"error": {"message": "Insufficient credits"}}
    ),
}


@pytest.mark.parametrize("way", REFUSALS)
@pytest.mark.long
def test_a_model_that_is_refused_is_set_aside_and_the_others_are_asked(
    stage: Stage, way: str
):
    def script(connection: socket.socket, request: Request) -> None:
        bad = request.body["model"] == "bad"
        (REFUSALS[way] if bad else answers)(connection, request)

    server = served(stage, script)
    models = [MODEL, "bad", MODEL, "bad", MODEL]
    rows = [{"prompt": f"{n}", "model": model} for n, model in enumerate(models)]
    lines = "\n".join(json.dumps(row) for row in rows)
    path = stage.write("models.jsonl", lines)
    job = int(stage.quick("submit", path, "--model", MODEL).out)

    def asked_of_bad() -> int:
        return sum(request.body["model"] == "bad" for request in server.requests)

    done = stage.quick("run")

    assert done.code == 78
    # Said once, with its reason; at the end by name.
    assert len(re.findall("model (than )?bad.*The run continues", done.err)) == 1
    assert "Error: continued without model bad (see above)\n" in done.err
    assert "refused the key" not in done.err
    assert stage.counts(job) == {"total": 5, "completed": 3, "pending": 2}
    assert asked_of_bad() == 1
    assert server.count == 4

    # Nothing but the bad model is left.
    done = stage.quick("run")
    assert done.code == 78
    assert re.search("model (than )?bad", done.err)
    assert asked_of_bad() == 2
    assert server.count == 5


def test_a_wait_that_is_too_long_is_kept_by_the_runs_that_follow(stage: Stage):
    body = {"error": {"message": "slow down"}}
    refused = refusal("429 Too Many Requests\r\nRetry-After: 40", body)
    server = served(stage, refused)
    stage.submit(["eins", "zwei"])
    for _ in range(2):
        done = stage.quick("run", "--max-pause", 5)
        assert done.code == 75
        assert re.search(
            r"espai is not to be called for \d\d s.*: run again after "
            r"\d\d:\d\d:\d\d \(exit code 75\)\.\n",
            done.err,
        )
        assert server.count == 1
    assert "2 left, 0 now" in stage.quick("status").out
    assert "it asks for a pause (HTTP 429" in stage.quick("quota").out
