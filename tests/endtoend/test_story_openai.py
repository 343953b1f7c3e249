"""Chat completions, from the command line to the export: in a stream, whole, cut."""

from __future__ import annotations

import csv
import io
import json
import socket
import threading

import pytest
from rawserver import RawServer, Request, chunked, sends, whole
from stage import KEY, Stage, wait_until

MODEL = "gpt-oss-20b"
MOST_OF_IT = KEY[:16]


def configure(stage: Stage, url: str, limit: int = 200, **settings: object) -> None:
    """A profile of the user's own, which is the default one."""
    stage.home.mkdir(mode=0o700, exist_ok=True)
    quota = f'{{ limit = {limit}, window = "day", zone = "{stage.zone}" }}'
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (stage.home / "config.toml").write_text(
        f'provider = "mine"\n[profiles.mine]\nprotocol = "openai"\n'
        f'base_url = "{url}"\nkey_env = "MINE_API_KEY"\nquotas = [{quota}]\n'
        + "\n".join(lines)
    )
    stage.env.pop("QUOTABATCH_BASE_URL", None)
    stage.env["MINE_API_KEY"] = KEY


def submit(stage: Stage, *prompts: str, flags: tuple[object, ...] = ()) -> int:
    rows = [json.dumps({"prompt": prompt}) for prompt in prompts]
    path = stage.write("prompts.jsonl", "\n".join(rows) + "\n")
    done = stage.quick("submit", path, "--model", MODEL, *flags)
    assert done.code == 0, done.err
    return int(done.out)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.long
def test_a_job_is_answered_to_the_limit_and_the_rest_waits(stage: Stage, streamed):
    served = stage.serve(limit=3, keys=frozenset({KEY}))
    configure(stage, served.url, 3, stream=streamed, stream_usage=streamed)
    job = submit(stage, "eins", "zwei", "drei", "vier")

    done = stage.run("run")

    assert done.code == 75, done.err
    assert served.count == 3
    results = stage.export(job)
    assert [one["status"] for one in results] == ["completed"] * 3 + ["pending"]
    for one, prompt in zip(results[:3], ["eins", "zwei", "drei"], strict=True):
        assert one["completion"] == served.answer_to(prompt, MODEL)
        assert one["finish_reason"] == "stop"
        assert one["usage"]["prompt_tokens"] == len(prompt)
        assert "reasoning" not in one
        assert "tool_calls" not in one
    assert stage.ledger()["used"] == 3


@pytest.mark.fault(36)
@pytest.mark.long
def test_its_refusal_at_the_limit_closes_the_day(stage: Stage):
    served = stage.serve(limit=2)
    configure(stage, served.url, limit=200)
    job = submit(stage, *(f"frage {n}" for n in range(6)))

    done = stage.run("run", "--concurrency", 1)

    assert done.code == 75, done.err
    assert served.count == 3
    assert stage.counts(job) == {"total": 6, "completed": 2, "pending": 4}
    assert "per day" in stage.quick("quota").out + stage.quick("quota").err


@pytest.mark.fault(39)
@pytest.mark.long
def test_a_refused_key_ends_the_run_with_the_first_call(stage: Stage):
    served = stage.serve(keys=frozenset({"another"}))
    configure(stage, served.url)
    job = submit(stage, "eins", "zwei")

    done = stage.run("run")

    assert done.code == 77, done.err
    assert served.count == 1
    assert stage.counts(job) == {"total": 2, "pending": 2}


@pytest.mark.parametrize(
    "fault",
    [
        "cut",
        "late_error",
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in ("error:500", "http:503")
        ),
    ],
)
@pytest.mark.fault(27, 32)
@pytest.mark.long
def test_what_broke_off_is_asked_again(stage: Stage, fault):
    served = stage.serve(faults={2: fault})
    configure(stage, served.url)
    job = submit(stage, "eins", "zwei")

    done = stage.run("run", "--concurrency", 1)

    assert done.code == 0, done.err
    assert served.count == 3
    assert [one["completion"] for one in stage.export(job)] == [
        served.answer_to(prompt, MODEL) for prompt in ("eins", "zwei")
    ]


@pytest.mark.parametrize("fault", ["latin1", "empty", "finish"])
@pytest.mark.fault(32)
@pytest.mark.long
def test_what_is_no_answer_is_never_stored_as_one(stage: Stage, fault):
    served = stage.serve(always=fault)
    configure(stage, served.url)
    job = submit(stage, "eins", flags=("--max-attempts", 1))

    assert stage.run("run").code == 1

    (result,) = stage.export(job)
    assert (result["status"], result["completion"]) == ("failed", None)
    assert served.count == 1


@pytest.mark.parametrize("fault", ["drop", "html"])
@pytest.mark.fault(32)
@pytest.mark.long
def test_a_request_stays_pending_where_the_service_never_answers(stage: Stage, fault):
    """Connections that break, and pages of a proxy, tell nothing about the request."""
    served = stage.serve(always=fault)
    configure(stage, served.url)
    job = submit(stage, "eins", flags=("--max-attempts", 1))

    assert stage.run("run").code == 69

    (result,) = stage.export(job)
    assert (result["status"], result["completion"]) == ("pending", None)
    assert served.count == 1


@pytest.mark.long
def test_the_reason_of_an_end_is_shown_and_may_be_a_failure(stage: Stage):
    served = stage.serve(faults={1: "finish:length", 2: "finish:content_filter"})
    configure(stage, served.url)
    job = submit(stage, "eins", "zwei")
    assert stage.run("run", "--concurrency", 1).code == 1
    first, second = stage.export(job)
    assert (first["status"], first["finish_reason"]) == ("completed", "length")
    # Asked once: the same question would be filtered again.
    assert second["error"]["code"] == "content_filter"
    assert second["attempts"] == 1
    assert served.count == 2

    served.standin.always = "finish:length"
    configure(stage, served.url, on_length="fail")
    job = submit(stage, "drei")
    assert stage.run("run").code == 1
    (third,) = stage.export(job)
    assert third["error"]["code"] == "length"
    assert served.count == 3


# What only bytes of our own can say.

CALLS = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "天气", "arguments": '{"in": "Rome"}'},
    }
]


def event(delta: object, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return (
        b"data: "
        + json.dumps({"model": MODEL, "choices": [choice]}).encode()
        + (b"\n\n")
    )


@pytest.mark.long
def test_reasoning_and_tool_calls_are_exported_and_shown(stage: Stage):
    replies = {
        "think": [
            event({"reasoning_content": "hm\n"}),
            event({"content": "hi"}, "stop"),
        ],
        "call": [event({"tool_calls": [{"index": 0, **CALLS[0]}]}, "tool_calls")],
        "plain": [event({"content": "hi"}, "stop")],
    }

    def script(connection: socket.socket, request: Request) -> None:
        sends(chunked(replies[request.prompt]))(connection, request)

    server = stage.keep(RawServer(script))
    configure(stage, server.url)
    job = submit(stage, *replies)
    assert stage.run("run").code == 0

    think, call, plain = stage.export(job)
    assert (think["completion"], think["reasoning"]) == ("hi", "hm\n")
    assert (call["completion"], call["tool_calls"]) == ("", CALLS)
    assert call["finish_reason"] == "tool_calls"
    assert list(think) == [*plain, "reasoning"]
    assert list(call) == [*plain, "tool_calls"]

    shown = stage.quick("show", job, "1").out
    assert "reasoning:\nhm\n" in shown
    assert "answer (stop):\nhi" in shown
    assert "天气" in stage.quick("show", job, "2").out
    assert stage.quick("show", job, "2", "--json").json()["tool_calls"] == CALLS
    assert stage.quick("show", job, "1", "--json").json()["reasoning"] == "hm\n"
    table = stage.quick("export", job, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["completion"] for row in rows] == ["hi", "", "hi"]
    assert [row["reasoning"] for row in rows] == ["hm\n", "", ""]
    assert [row["tool_calls"] for row in rows][::2] == ["", ""]
    assert json.loads(rows[1]["tool_calls"]) == CALLS


ECHOES = {
    "an answer": chunked([event({"content": f"it is {KEY}"}, "stop")]),
    "an answer in pieces": chunked(
        [*(event({"content": char}) for char in KEY), event({}, "stop")]
    ),
    "a thought": chunked(
        [event({"reasoning": KEY}), event({"content": f"{KEY}!"}, "stop")]
    ),
    "a call": chunked(
        [
            event(
                {"tool_calls": [{"id": KEY, "function": {"arguments": KEY}}]},
                "tool_calls",
            )
        ]
    ),
    "an end": chunked([event({"content": "hi"}, KEY)]),
    "an object": whole(
        json.dumps(
            {
                "model": KEY,
                "usage": {KEY: KEY},
                "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            }
        )
    ),
    "an error": whole(
        f'data: {{"error": {{"message": "{KEY}", "code": "{KEY}"}}}}\n\n'
    ),
    "words": whole(f"{KEY} is no stream"),
    "a cut": chunked([event({"content": f"it is {KEY}"})], end=b""),
    "a refusal": b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%s"
    % (len(KEY), KEY.encode()),
}


@pytest.mark.fault(54)
@pytest.mark.long
def test_the_key_travels_in_its_header_and_stands_nowhere_else(stage: Stage):
    last = threading.Event()

    def script(connection: socket.socket, request: Request) -> None:
        if request.prompt == "the last":
            last.wait(60)
        echo = ECHOES.get(request.prompt, chunked([event({"content": "a"}, "stop")]))
        sends(echo)(connection, request)

    server = stage.keep(RawServer(script))
    configure(stage, server.url)
    prompts = [*ECHOES, "the last"]
    flags = ("--max-attempts", 1)
    job = submit(stage, *prompts, flags=flags)
    try:
        words = ("--max-failures", 100, "--concurrency", 1)
        running = stage.start("--debug", "run", *words)
        wait_until(lambda: server.count == len(prompts), "the last call")
        # While it runs there is a write-ahead log.
        assert files_with_the_key(stage) == []
    finally:
        last.set()
    done = running.end()

    assert done.code == 1, done.err
    for request in server.requests:
        assert f"Authorization: Bearer {KEY}\r\n" in request.head + "\r\n"
        assert KEY not in json.dumps(request.body)
    outputs = [
        done,
        stage.quick("export", job),
        stage.quick("export", job, "--format", "csv"),
        stage.quick("status", job),
        stage.quick("quota", "--json"),
        stage.quick("config"),
        *(stage.quick("--debug", "show", job, n + 1) for n in range(len(prompts))),
    ]
    assert [one for one in outputs if MOST_OF_IT in one.out + one.err] == []
    assert files_with_the_key(stage) == []
    results = dict(zip(prompts, stage.export(job), strict=True))
    assert results["an answer in pieces"]["completion"] == "[key]"
    assert results["an answer"]["completion"] == "it is [key]"


def files_with_the_key(stage: Stage) -> list[str]:
    return [
        path.name
        for path in stage.folder.rglob("*")
        if path.is_file() and MOST_OF_IT.encode() in path.read_bytes()
    ]
