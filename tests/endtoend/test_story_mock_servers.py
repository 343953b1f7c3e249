"""Third-party mock servers that break on purpose, and judge or log their client."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import thirdparty
from stage import Stage

pytestmark = pytest.mark.heavy

#: One call in four fails: where one in two did, a row had 15 calls now and then, and
#: llmock takes more than 10 for a fault of its client.
FAULTS = ["500=0.05", "503=0.05", "429=0.05", "408=0.03"]
BROKEN_STREAMS = ["disconnect=0.05", "truncate=0.05", "malformed=0.05"]
STREAMED = ["", "stream = false"]


def submit(stage: Stage, rows: int, *flags: object) -> list[str]:
    """Queue this many rows of one job; return their prompts."""
    prompts = [f"question-{number:03} please" for number in range(rows)]
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
    path = stage.write("prompts.jsonl", "\n".join(lines) + "\n")
    done = stage.quick("submit", path, "--model", "mock-model", *flags)
    assert done.code == 0, done.err
    return prompts


@contextmanager
def llmock(folder: Path, *flags: str) -> Iterator[str]:
    program = thirdparty.installed("llmock/bin/llmock")
    # It answers with the prompt.
    command = [program, "serve", "--response-style", "echo", *flags]
    with thirdparty.running(command, folder, health="/health") as url:
        yield url


def faults_found(url: str) -> list[Any]:
    """Return llmock's findings about its client that it takes for errors.

    A question for the server's clock (HEAD /) is no call: it costs nothing, and each
    run asks it once whatever its status was.
    """
    with urllib.request.urlopen(f"{url}/_llmock/verdict") as reply:
        findings = json.load(reply)["findings"]
    return [
        one
        for one in findings
        if one["severity"] == "error" and "HEAD" not in json.dumps(one)
    ]


def calls(url: str) -> int:
    """Return how many completions llmock was asked for."""
    with urllib.request.urlopen(f"{url}/_llmock/requests") as reply:
        requests = json.load(reply)["requests"]
    return sum(one["method"] == "POST" for one in requests)


def echoed(stage: Stage, prompts: list[str]) -> None:
    """Check that each completed row holds the answer to its own prompt."""
    for prompt, result in zip(prompts, stage.export(), strict=True):
        assert result["status"] == "completed", result["error"]
        assert prompt in result["completion"]


@pytest.mark.parametrize("settings", STREAMED)
def test_llmock_is_understood_and_finds_no_fault(
    stage: Stage, tmp_path: Path, settings: str
):
    with llmock(tmp_path) as url:
        thirdparty.configure(stage, f"{url}/v1", "", settings)
        prompts = submit(stage, 40)
        done = stage.run("run")
        assert done.code == 0, done.err
        echoed(stage, prompts)
        assert faults_found(url) == []
        assert calls(url) == 40


def test_every_row_is_answered_at_twenty_calls_a_minute(stage: Stage, tmp_path: Path):
    """Only the server knows the limit; what a profile states is tested elsewhere."""
    with llmock(tmp_path, "--rpm", "20") as url:
        thirdparty.configure(stage, f"{url}/v1", "")
        prompts = submit(stage, 26)
        done = stage.run("run", seconds=300)
        assert done.code == 0, done.err
        echoed(stage, prompts)
        assert faults_found(url) == []


@pytest.mark.parametrize("settings", STREAMED)
def test_only_whole_answers_are_kept_where_llmock_breaks_its_replies(
    stage: Stage, tmp_path: Path, settings: str
):
    flags = [word for one in FAULTS for word in ("--error-rate", one)]
    flags += [word for one in BROKEN_STREAMS for word in ("--stream-fault", one)]
    with llmock(tmp_path, *flags) as url:
        thirdparty.configure(stage, f"{url}/v1", "", settings)
        prompts = submit(stage, 80, "--max-attempts", 10)
        for _ in range(5):
            done = stage.run("run", seconds=300)
            if done.code == 0:
                break
        assert done.code == 0, done.err
        echoed(stage, prompts)
        assert faults_found(url) == []


@contextmanager
def aimock(folder: Path, rows: int, *flags: str) -> Iterator[str]:
    """A server with one answer for each of this many prompts."""
    node = thirdparty.installed("node/bin/node")
    script = thirdparty.installed("aimock/node_modules/@copilotkit/aimock/dist/cli.js")
    fixtures = [
        {
            "match": {"userMessage": f"question-{number:03}"},
            "response": {"content": answer(number)},
        }
        for number in range(rows)
    ]
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}), "utf-8")
    command = [node, script, "--fixtures", file, *flags]
    with thirdparty.running(command, folder, health="/health") as url:
        yield url


def answer(number: int) -> str:
    return f"Answer {number:03}: 床前明月光，疑是地上霜。" * 3


@pytest.mark.parametrize("settings", STREAMED)
@pytest.mark.parametrize(
    "chaos",
    [
        [],
        [
            "--chaos-drop=0.1",
            "--chaos-malformed=0.1",
            "--chaos-disconnect=0.1",
            "--chaos-ratelimit=0.1",
        ],
    ],
)
def test_each_row_has_its_own_answer_of_aimock(
    stage: Stage, tmp_path: Path, settings: str, chaos: list[str]
):
    rows = 60
    with aimock(tmp_path, rows, *chaos) as url:
        thirdparty.configure(stage, f"{url}/v1", "", settings)
        submit(stage, rows, "--max-attempts", 12)
        done = stage.run("run", seconds=300)
    assert done.code == 0, done.err
    assert [one["completion"] for one in stage.export()] == [
        answer(number) for number in range(rows)
    ]
