"""What is no answer never becomes one: a socket server sends it, byte by byte."""

from __future__ import annotations

import json
import socket

import pytest
from rawserver import (
    HEAD,
    RawServer,
    Request,
    Script,
    byte_by_byte,
    chunked,
    resets,
    sends,
    whole,
)
from stage import Stage

ANSWER = "床前明月光，疑是地上霜。"
ERROR = '{"success": false, "message": "系统错误", "code": 500}'
PAGE = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>"
BOM = "\ufeff"


def answers(connection: socket.socket, request: Request) -> None:
    """The right answer to any prompt, cut inside its characters."""
    connection.sendall(chunked(byte_by_byte(f"答：{request.prompt}")))


#: What the endpoint does, and the code of ours that it must end with.
NON_ANSWERS: dict[str, tuple[Script, str]] = {
    "an error object in one chunk": (
        sends(chunked([ERROR.encode()])),
        "endpoint_error",
    ),
    "an error object byte by byte": (
        sends(chunked(byte_by_byte(ERROR))),
        "endpoint_error",
    ),
    "an error object with a length": (sends(whole(ERROR)), "endpoint_error"),
    "an error object behind a mark": (sends(whole(BOM + ERROR)), "endpoint_error"),
    "an error object over several lines": (
        sends(whole("\n" + json.dumps(json.loads(ERROR), indent=2) + "\n")),
        "endpoint_error",
    ),
    "an error object as OpenAI has it": (
        sends(whole('{"error": {"message": "overloaded", "code": "busy"}}')),
        "endpoint_error",
    ),
    "an error object as vLLM has it": (
        sends(whole('{"object": "error", "message": "no", "code": 500}')),
        "endpoint_error",
    ),
    "an error object behind some text": (
        sends(chunked([ANSWER.encode(), ERROR.encode()])),
        "endpoint_error",
    ),
    "an error object behind some text byte by byte": (
        sends(chunked(byte_by_byte(ANSWER + ERROR))),
        "endpoint_error",
    ),
    "a stream cut between chunks": (
        sends(chunked([ANSWER.encode()], end=b"")),
        "cut",
    ),
    "a stream cut inside a chunk": (
        sends(chunked([ANSWER.encode()], end=b"ff\r\nfar less")),
        "cut",
    ),
    "a stream cut inside a chunk's length": (
        sends(chunked([ANSWER.encode()], end=b"1")),
        "cut",
    ),
    "a stream that is reset": (resets(chunked([ANSWER.encode()], end=b"")), "cut"),
    "a body shorter than it was stated": (
        sends(HEAD + b"Content-Length: 999\r\n\r\n" + ANSWER.encode()),
        "cut",
    ),
    "a page": (
        sends(whole(PAGE, HEAD.replace(b"text/plain", b"text/html"))),
        "html",
    ),
    "a page that says it is text": (sends(chunked(byte_by_byte(PAGE))), "html"),
    "an empty stream": (sends(chunked([])), "empty"),
    "an empty body": (sends(whole("")), "empty"),
    "blank space": (sends(whole(" \r\n\t\n")), "empty"),
    "no content": (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), "empty"),
    "nothing but a mark": (sends(whole(BOM)), "empty"),
    "nothing before the end of the connection": (
        sends(b"HTTP/1.0 200 OK\r\n\r\n"),
        "empty",
    ),
    "Latin-1": (sends(whole("déjà vu".encode("latin-1"))), "not_text"),
    "GBK": (sends(whole(ANSWER.encode("gbk"))), "not_text"),
    "a character cut in two at the end": (
        sends(chunked([ANSWER.encode()[:-1]])),
        "not_text",
    ),
    "a NUL": (sends(whole("fine\0not fine")), "not_text"),
    "no reply": (sends(b""), "dropped"),
    "no reply but a reset": (resets(b""), "dropped"),
    "half a head": (sends(HEAD[:40]), "dropped"),
    "no HTTP": (sends(b"220 mail.example.org ESMTP\r\n"), "garbled"),
    "too many headers": (
        sends(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n"),
        "garbled",
    ),
    "an error as HTTP": (
        sends(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nboom"),
        "http_500",
    ),
    "a refusal of this prompt": (
        sends(b"HTTP/1.1 400 No\r\nContent-Length: 8\r\n\r\ntoo long"),
        "http_400",
    ),
}


def by_prompt(connection: socket.socket, request: Request) -> None:
    """A prompt that names a non-answer gets it; every other prompt is answered."""
    script, _ = NON_ANSWERS.get(request.prompt, (answers, ""))
    script(connection, request)


@pytest.mark.fault(25, 26, 27, 32, 34)
@pytest.mark.long
def test_every_non_answer_fails_and_the_answers_beside_them_stay(stage: Stage):
    server = stage.keep(RawServer(by_prompt))
    stage.configure(limit=200)
    prompts = []
    for n, name in enumerate(NON_ANSWERS):
        prompts += [f"好问题 {n}", name]
    job = stage.submit(prompts, "--max-attempts", 1)

    stage.env["QUOTABATCH_BASE_URL"] = server.url
    done = stage.run("run", "--max-failures", 100)

    assert done.code == 1, done.err
    assert done.out == ""
    assert sorted(server.prompts) == sorted(prompts)
    results = {one["input"]["prompt"]: one for one in stage.export(job)}
    codes = {name: (results[name]["error"] or {}).get("code") for name in NON_ANSWERS}
    assert codes == {name: code for name, (_, code) in NON_ANSWERS.items()}
    for name in NON_ANSWERS:
        one = results[name]
        assert one["status"] == "failed"
        assert one["completion"] is None
        assert one["finish_reason"] is None
        assert one["attempts"] == 1
        assert "\n" not in one["error"]["message"]
    good = [one for name, one in results.items() if name not in NON_ANSWERS]
    assert all(one["completion"] == f"答：{one['input']['prompt']}" for one in good)
    assert {one["error"] for one in good} == {None}
    ledger = stage.ledger()
    assert (ledger["used"], ledger["reserved"]) == (len(prompts), 0)
    failures = stage.quick("status", job, "--json").json()["failures"]
    assert sum(one["count"] for one in failures) == len(NON_ANSWERS)


@pytest.mark.fault(27, 32)
@pytest.mark.long
def test_a_failed_attempt_is_made_again_until_the_answer_is_there(stage: Stage):
    bad = iter(
        [
            sends(chunked([ANSWER.encode()], end=b"")),
            sends(whole(ERROR)),
        ]
    )

    def script(connection: socket.socket, request: Request) -> None:
        next(bad, answers)(connection, request)

    server = stage.keep(RawServer(script))
    stage.configure(limit=200)
    job = stage.submit(["eins", "zwei"], "--max-attempts", 5)

    stage.env["QUOTABATCH_BASE_URL"] = server.url
    done = stage.quick("run")

    assert done.code == 0, done.err
    # After two failures others are asked first.
    assert server.prompts == ["eins", "eins", "zwei", "eins"]
    results = stage.export(job)
    assert [one["completion"] for one in results] == ["答：eins", "答：zwei"]
    assert [one["attempts"] for one in results] == [3, 1]
    assert stage.ledger()["used"] == 4
    attempts = stage.quick("show", job, 1, "--json").json()["attempts"]
    codes = [one["error"] and one["error"]["code"] for one in attempts]
    assert codes == ["cut", "endpoint_error", None]
    assert attempts[0]["partial"] == ANSWER


@pytest.mark.fault(28)
def test_an_answer_says_whether_its_end_was_seen(stage: Stage):
    replies = {
        "length": whole(ANSWER),
        "chunks": chunked(byte_by_byte(ANSWER)),
        # Without a frame nobody can tell whether it is whole, and the export says so.
        "neither": HEAD + b"Connection: close\r\n\r\n" + ANSWER.encode(),
    }

    def script(connection: socket.socket, request: Request) -> None:
        connection.sendall(replies[request.prompt])

    server = stage.keep(RawServer(script))
    job = stage.submit(replies)

    assert stage.quick("run", "--base-url", server.url).code == 0
    results = stage.export(job)
    assert {one["completion"] for one in results} == {ANSWER}
    reasons = [one["finish_reason"] for one in results]
    assert reasons == ["stop", "stop", "unknown"]


def test_an_answer_that_looks_like_an_error_but_is_none_is_kept(stage: Stage):
    texts = [
        '{"country": "FRA", "error": null, "success": true}',
        'The reply was `{"success": false}`; try again.',
        "[1, 2, 3]",
        "<p>One paragraph</p>",
        '{"success": false, "message": "x", "code": 1} is what it sends.',
        "Error: this is what the program prints.",
        BOM + "with a mark\r\nand\u2028ends",
    ]

    def script(connection: socket.socket, request: Request) -> None:
        connection.sendall(chunked(byte_by_byte(texts[int(request.prompt)])))

    server = stage.keep(RawServer(script))
    job = stage.submit([str(n) for n in range(len(texts))])

    assert stage.quick("run", "--base-url", server.url).code == 0
    assert [one["completion"] for one in stage.export(job)] == texts


@pytest.mark.fault(30)
@pytest.mark.long
def test_a_silent_endpoint_is_given_up_within_the_time_allowed(stage: Stage):
    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(chunked([ANSWER.encode()], end=b""))
        connection.recv(1)  # until the other side hangs up

    server = stage.keep(RawServer(script))
    job = stage.submit(["eins"], "--max-attempts", 1)

    done = stage.quick("run", "--base-url", server.url, "--timeout", 0.5)

    # Nothing was answered: it cannot be told whether it is the request that fails.
    assert done.code == 69
    assert server.count == 1
    assert "espai: 0 answers, 1 call, in " in done.err
    assert "Error: 1 call failed: " in done.err
    assert "Nothing was answered, so the request stays pending: run again" in done.err
    assert "1 failed" not in done.err
    assert stage.counts(job) == {"total": 1, "pending": 1}
    (result,) = stage.export(job)
    assert result["status"] == "pending"
    assert result["error"] is None
    assert result["completion"] is None
    attempts = stage.quick("show", job, 1, "--json").json()["attempts"]
    assert [one["error"]["code"] for one in attempts] == ["timeout"]


@pytest.mark.fault(29)
def test_a_compressed_reply_stops_the_run_at_the_first_call(stage: Stage):
    head = HEAD + b"Content-Encoding: gzip\r\n"
    server = stage.keep(RawServer(sends(whole(b"\x1f\x8b\x08", head))))
    job = stage.submit(["eins", "zwei", "drei"])

    done = stage.quick("run", "--base-url", server.url)

    assert done.code == 78
    assert done.err.count("Error: ") == 1
    assert server.count == 1
    assert stage.counts(job) == {"total": 3, "pending": 3}
