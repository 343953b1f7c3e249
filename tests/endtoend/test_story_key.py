"""The key stands in the key file and nowhere else: not in a file, not in an output,
however the endpoint repeats it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rawserver import RawServer, Request, byte_by_byte, chunked, sends, whole
from stage import KEY, MODEL, Stage, wait_until

HIDDEN = "[key]"
#: What is looked for: a key whose end was cut off is a key that is known.
MOST_OF_IT = KEY[:16]


def spelled(text: str) -> str:
    """As JSON may spell it: every character by its number."""
    return "".join(f"\\u{ord(char):04x}" for char in text)


def refusal(status: str, body: str, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body.encode()


#: How an endpoint may repeat a key, by prompt.
ECHOES = {
    "an answer": chunked(byte_by_byte(f"Your key is {KEY}, is it not?")),
    "an error object": whole(f'{{"success":false,"message":"bad {KEY}","code":500}}'),
    "an error object, spelled": whole(
        f'{{"success":false,"message":"bad {spelled(KEY)}","code":500}}'
    ),
    "the code of an error": whole(f'{{"success":false,"message":"","code":"{KEY}"}}'),
    "an error behind some text": whole(f'{KEY} {{"error": "no {KEY}"}}'),
    "a cut answer": chunked([f"Your key is {KEY}, is".encode()], end=b""),
    "a page": whole(f"<html><title>{KEY}</title><body>{KEY}</body></html>"),
    "no text": whole(KEY.encode() + b" d\xe9j\xe0 vu"),
    "no HTTP": KEY.encode() + b"\r\n\r\n",
    "a refusal": refusal("400 Bad Request", f"no user has {KEY}"),
    "a refusal as JSON": refusal(
        "400 Bad Request", f'{{"error": {{"message": "bad {KEY}", "code": "{KEY}"}}}}'
    ),
    "a refusal as JSON, spelled": refusal(
        "400 Bad Request", f'{{"error": {{"message": "bad {spelled(KEY)}"}}}}'
    ),
    "a reason": refusal(f"400 Bad key {KEY}", ""),
    # Messages are shortened, and a key may stand where they are cut.
    "a long error": whole(
        f'{{"success":false,"message":"{"x" * 280}{KEY}","code":500}}'
    ),
    "a long error, spelled": whole(
        f'{{"success":false,"message":"{"x" * 280}{spelled(KEY)}","code":500}}'
    ),
    "a long refusal": refusal("400 Bad Request", "x" * 280 + KEY),
    "a long reason": refusal(f"400 {'x' * 40}{KEY}", ""),
    "a long title": whole(f"<html><title>{'x' * 60}{KEY}</title></html>"),
    "headers": refusal(
        "400 Bad Request", "no", f"X-Key: {KEY}\r\nRetry-After: {KEY}\r\n"
    ),
}


def files_with_the_key(folder: Path) -> list[str]:
    """The files under a folder that hold the key, in bytes or in their names."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes() if path.is_file() else b""
            if MOST_OF_IT.encode() in data or MOST_OF_IT in path.name:
                found.append(path.name)
    return sorted(found)


def keep_the_key(stage: Stage) -> None:
    """`keys set`, as a script does it."""
    done = stage.quick("keys", "set", stdin=KEY.encode() + b"\n")
    assert done.code == 0, done.err


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.fault(54)
def test_keys_set_reads_stdin_and_keeps_the_key_for_the_users_eyes_only(stage: Stage):
    del stage.env["ESPAI_API_KEY"]
    setting = stage.start("--debug", "keys", "set", stdin=subprocess.PIPE)
    assert setting.popen.stdin is not None
    setting.popen.stdin.write(KEY.encode() + b"\n")
    setting.popen.stdin.flush()
    arguments = Path(f"/proc/{setting.pid}/cmdline").read_bytes()
    done = setting.end()

    assert done.code == 0
    assert done.out == ""
    assert "for your eyes only" in done.err
    assert MOST_OF_IT not in done.err
    assert KEY.encode() not in arguments
    assert mode(stage.home) == 0o700
    assert mode(stage.home / "keys.json") == 0o600
    assert json.loads((stage.home / "keys.json").read_text()) == {"espai": KEY}

    listed = stage.run("keys", "list", "--json")
    (row,) = listed.json()
    assert row["provider"] == "espai"
    assert row["origin"] == str(stage.home / "keys.json")
    assert row["fingerprint"] in done.err
    assert listed.err == ""

    removed = stage.quick("keys", "remove")
    assert removed.code == 0
    assert files_with_the_key(stage.home) == []
    assert stage.quick("keys", "remove").code == 2


@pytest.mark.fault(54)
@pytest.mark.long
def test_no_echo_of_the_key_reaches_a_file_or_an_output(stage: Stage):
    del stage.env["ESPAI_API_KEY"]
    last = threading.Event()

    def script(connection: socket.socket, request: Request) -> None:
        if request.prompt == "the last":
            last.wait(60)
        sends(ECHOES.get(request.prompt, whole("fine")))(connection, request)

    server = stage.keep(RawServer(script))
    stage.env["QUOTABATCH_BASE_URL"] = server.url
    keep_the_key(stage)
    prompts = [*ECHOES, "the last"]
    job = stage.submit(prompts, "--max-attempts", 1)
    try:
        flags = ("--max-failures", 100, "--concurrency", 1)
        running = stage.start("--debug", "run", *flags)
        wait_until(lambda: server.count == len(prompts), "the last call")
        # While it runs there is a write-ahead log, and a lock.
        assert (stage.home / "quotabatch.db-wal").stat().st_size > 0
        assert files_with_the_key(stage.folder) == ["keys.json"]
        assert KEY.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
    finally:
        last.set()
    done = running.end()

    assert done.code == 1, done.err
    assert {request.body["api_key"] for request in server.requests} == {KEY}
    outputs = [done, *everything_that_is_said(stage, job)]
    assert [one for one in outputs if MOST_OF_IT in one.out + one.err] == []
    assert {one.code for one in outputs[1:]} == {0}
    assert files_with_the_key(stage.folder) == ["keys.json"]
    answer = stage.export(job)[0]
    assert answer["completion"] == f"Your key is {HIDDEN}, is it not?"
    for path in (stage.home, stage.home / "quotabatch.db.locks"):
        assert mode(path) == 0o700
    assert mode(stage.home / "quotabatch.db") == 0o600
    assert mode(stage.home / "ledgers.json") == 0o600


def everything_that_is_said(stage: Stage, job: int) -> Iterator:
    for words in (
        ["config"],
        ["config", "--json"],
        ["keys", "list"],
        ["quota", "--json"],
        ["quota", "--history"],
        ["status", job],
        ["status", "--json"],
        ["export", job],
        ["export", job, "--format", "csv", "-o", "out.csv"],
        ["show", job, list(ECHOES).index("a cut answer") + 1],
        ["show", job, list(ECHOES).index("a reason") + 1, "--json"],
    ):
        yield stage.quick("--debug", *words)


@pytest.mark.fault(40, 54)
@pytest.mark.long
def test_a_redirect_does_not_carry_the_key_elsewhere(stage: Stage):
    elsewhere = stage.keep(RawServer(sends(whole("fine"))))
    target = f"{elsewhere.url}?key={KEY}"
    server = stage.keep(
        RawServer(sends(refusal("307 Moved", "", f"Location: {target}\r\n")))
    )
    job = stage.submit(["eins", "zwei"])

    done = stage.run("--debug", "run", "--base-url", server.url)

    assert done.code == 78
    assert f"{elsewhere.url}?key={HIDDEN}" in done.err
    assert MOST_OF_IT not in done.err
    assert (server.count, elsewhere.count) == (1, 0)
    assert files_with_the_key(stage.folder) == []
    assert stage.counts(job) == {"total": 2, "pending": 2}


@pytest.mark.fault(54)
def test_a_key_that_cannot_be_one_is_refused_and_not_repeated(stage: Stage):
    stage.submit(["eins"])
    for key in (f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\n{KEY}"):
        done = stage.quick("--debug", "run", env={"ESPAI_API_KEY": key})
        assert done.code == 77
        assert "ESPAI_API_KEY" in done.err
        assert MOST_OF_IT not in done.err
    done = stage.quick("keys", "set", stdin=b"\n")
    assert done.code == 77
    assert not (stage.home / "keys.json").exists()


@pytest.mark.fault(54)
def test_a_key_that_is_given_as_an_argument_is_not_repeated(stage: Stage):
    for words in (["keys", "set", KEY], ["keys", "set", "espai", KEY]):
        done = stage.quick(*words)
        assert done.code != 0
        assert MOST_OF_IT not in done.err
        assert not (stage.home / "keys.json").exists()


def test_the_variables_win_over_the_key_file(stage: Stage):
    server = stage.keep(RawServer(sends(whole("fine"))))
    stage.env["QUOTABATCH_BASE_URL"] = server.url
    own, general = "sk-of-the-profile", "sk-of-the-environment"
    keep_the_key(stage)
    stage.submit(["eins", "zwei", "drei"])

    for env in (
        {"ESPAI_API_KEY": own, "QUOTABATCH_API_KEY": general},
        {"ESPAI_API_KEY": None, "QUOTABATCH_API_KEY": general},
        {"ESPAI_API_KEY": None},
    ):
        stage.quick("run", "--max-calls", 1, env=env)

    used = [request.body["api_key"] for request in server.requests]
    assert used == [own, general, KEY]
    ledgers = stage.quick("quota", "--json").json()
    assert [one["used"] for one in ledgers] == [1, 1, 1]
    assert len({one["account"] for one in ledgers}) == 3


@pytest.mark.fault(54)
def test_a_job_file_and_a_dataset_are_no_place_for_keys(stage: Stage):
    stage.write("rows.txt", "eins\n")
    stage.write(
        "job.toml",
        f'dataset = "rows.txt"\nmodel = "{MODEL}"\n[params]\napi_key = "{KEY}"\n',
    )
    done = stage.quick("submit", "job.toml")
    assert done.code == 78
    assert MOST_OF_IT not in done.err

    row = {"messages": [{"role": "user", "content": "a"}], "api_key": KEY}
    stage.write("rows.jsonl", json.dumps(row))
    done = stage.quick("submit", "rows.jsonl", "--model", MODEL)
    assert done.code == 2
    assert MOST_OF_IT not in done.err

    done = stage.quick(
        "submit", "rows.txt", "--model", MODEL, "--param", f"api_key={KEY}"
    )
    assert done.code == 2
    assert MOST_OF_IT not in done.err
    assert stage.quick("status", "--json").json() == []
    assert files_with_the_key(stage.home) == []
