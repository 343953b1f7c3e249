"""Submitting: every format, every bad line by name, and all of it or nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import sqlite3
import subprocess

import pytest
from stage import COMMAND, MODEL, Process, Stage, wait_until

TEXTS = ["床前明月光", 'says "hi", twice', "plain"]
#: Rows of a submission that are queued in one transaction.
PIECE = 2000
LONG_LINE = json.dumps({"prompt": "x" * 300}).encode() + b"\n"
LONG_LINES = 8000


def jsonl(rows: list[dict]) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    return "".join(lines).encode()


def table(rows: list[dict], delimiter: str) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    # Excel puts a mark before it, and ends lines so.
    return "\ufeff".encode() + file.getvalue().encode()


def rows_in(stage: Stage) -> int:
    """Requests in the database, those of unfinished submissions too."""
    path = stage.home / "quotabatch.db"
    if not path.exists():
        return 0
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(database.execute("SELECT count(*) FROM requests").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        database.close()


@pytest.mark.long
def test_every_format_plain_and_packed_and_stdin_make_one_job(stage: Stage):
    served = stage.serve()
    sources, prompts = [], []
    for name, content in (
        ("rows.jsonl", lambda rows: jsonl(rows)),
        ("rows.csv", lambda rows: table(rows, ",")),
        ("rows.tsv", lambda rows: table(rows, "\t")),
        ("rows.json", lambda rows: json.dumps(rows, indent=2).encode()),
        ("rows.txt", lambda rows: "\r\n".join(row["text"] for row in rows).encode()),
    ):
        for packed in (False, True):
            rows = [{"text": f"{text} ({name}, {packed})"} for text in TEXTS]
            prompts += [row["text"] for row in rows]
            data = content(rows)
            name_now = f"{name}.gz" if packed else name
            stage.write(name_now, gzip.compress(data) if packed else data)
            sources.append(name_now)
    prompts.append("from stdin")
    flags = ("--prompt", "{{ text }}", "--model", "千问7B", "--name", "all of it")

    done = stage.run("submit", *sources, "-", *flags, stdin=b'{"text": "from stdin"}')

    assert done.code == 0, done.err
    assert done.out == "1\n"
    assert f"{len(prompts)} requests" in done.err
    assert stage.quick("run", "--concurrency", 8).code == 0
    assert sorted(served.prompts) == sorted(prompts)
    assert {call.model for call in served.calls} == {MODEL}
    results = stage.export("all of it")
    assert [one["input"]["text"] for one in results] == prompts
    assert [one["completion"] for one in results] == [
        served.answer_to(prompt) for prompt in prompts
    ]


def test_a_row_may_bring_its_own_messages_model_and_id(stage: Stage):
    served = stage.serve()
    body = {"model": "openchat", "messages": [{"role": "user", "content": "batch"}]}
    rows = [
        {"id": "a", "messages": [{"role": "user", "content": "messages"}]},
        {"id": "b", "message": [{"role": "user", "content": "message"}]},
        {"id": "c", "prompt": "prompt", "model": "wizardlm2"},
        {
            "custom_id": "d",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        },
        {"id": "e", "word": "template"},
    ]
    stage.write("rows.jsonl", jsonl(rows))
    flags = ("--prompt", "{{ word }}", "--model", MODEL)
    assert stage.quick("submit", "rows.jsonl", *flags).code == 0
    assert stage.quick("run").code == 0

    asked = {call.prompt: call.model for call in served.calls}
    assert asked == {
        "messages": MODEL,
        "message": MODEL,
        "prompt": "wizardlm2",
        "batch": "openchat",
        "template": MODEL,
    }
    assert [one["custom_id"] for one in stage.export()] == list("abcde")


#: A line of JSONL, and what is wrong with it; None: nothing.
LINES: list[tuple[bytes, str | None]] = [
    (b'{"id": 1, "q": "fine"}', None),
    (b'{"id": 2, "q": ', "not JSON"),
    (b'{"id": 3, "p": "?"}', "'q'"),
    (b'{"id": 4, "q": NaN}', "NaN"),
    (b'{"id": 1, "q": "the same id"}', "'1'"),
    (b"[1, 2]", "a list"),
    (b'{"id": 7, "q": "\xff"}', "not UTF-8"),
    (b'{"id": 8, "q": "a\\u0000b"}', "NUL"),
    (b'{"id": 9, "q": "\\ud800"}', "surrogate"),
    (b'{"id": 10, "q": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested"),
    (b'{"id": 11, "q": "' + "a\u2028b\u0085c".encode() + b'"}', None),
    (b'{"id": 12, "q": "1", "q": "2"}', "twice"),
    (b'{"id": 13, "q": ""}', "empty"),
    (b'{"id": 14, "q": "no line end after this"}', None),
]


def complaints(err: str) -> list[tuple[int, str]]:
    """The lines that a message names, in its order, each with the reason."""
    found = []
    for line in err.splitlines():
        head, _, rest = line.removeprefix("Error: ").partition("rows.jsonl:")
        number, _, reason = rest.partition(": ")
        if not head and number.isdigit():
            found.append((int(number), reason))
    return found


@pytest.mark.fault(51)
def test_every_bad_line_is_named_in_order_and_nothing_is_queued(stage: Stage):
    stage.write("rows.jsonl", b"\n".join(line for line, _ in LINES))
    flags = ("--prompt", "{{ q }}", "--model", MODEL)

    done = stage.run("submit", "rows.jsonl", *flags)

    assert done.code == 2
    assert done.out == ""
    named = complaints(done.err)
    bad = [n for n, (_, reason) in enumerate(LINES, 1) if reason]
    assert [number for number, _ in named] == bad
    assert all((LINES[n - 1][1] or "") in reason for n, reason in named), named
    assert stage.quick("status", "--json").json() == []
    assert rows_in(stage) == 0

    rehearsed = stage.quick("submit", "rows.jsonl", *flags, "--dry-run")

    assert rehearsed.code == 2
    assert complaints(rehearsed.err) == named


@pytest.mark.fault(51)
def test_skip_bad_rows_queues_the_good_ones_and_names_the_others(stage: Stage):
    stage.write("rows.jsonl", b"\n".join(line for line, _ in LINES))
    flags = ("--prompt", "{{ q }}", "--model", MODEL)

    done = stage.quick("submit", "rows.jsonl", *flags, "--skip-bad-rows", "--json")

    assert done.code == 0
    bad = [n for n, (_, reason) in enumerate(LINES, 1) if reason]
    assert [number for number, _ in complaints(done.err)] == bad
    assert f"{len(bad)} bad lines are left out" in done.err
    receipt = done.json()
    assert (receipt["requests"], receipt["bad_lines"]) == (len(LINES) - len(bad), 11)
    ids = [one["custom_id"] for one in stage.export(receipt["job"])]
    assert ids == ["1", "11", "14"]


def test_of_many_bad_lines_the_first_twenty_are_named_and_all_are_counted(stage: Stage):
    # The odd ones are no JSON, the even ones lack what the template asks for.
    lines = ["{bad" if n % 2 else '{"p": 1}' for n in range(1, 61)]
    stage.write("rows.jsonl", "\n".join(lines))

    done = stage.quick("submit", "rows.jsonl", "--prompt", "{{ q }}", "--model", MODEL)

    assert done.code == 2
    assert [number for number, _ in complaints(done.err)] == list(range(1, 21))
    assert "40 more" in done.err
    assert stage.quick("status", "--json").json() == []


def test_identical_requests_are_asked_once_and_all_get_the_answer(stage: Stage):
    served = stage.serve()
    prompts = ["eins", "zwei", "eins", "drei", "zwei", "eins"]
    job = stage.submit(prompts)
    assert stage.quick("status", job, "--json").json()["duplicates"] == 3

    assert stage.quick("run").code == 0

    assert sorted(served.prompts) == ["drei", "eins", "zwei"]
    results = stage.export(job)
    assert [one["completion"] for one in results] == [
        served.answer_to(prompt) for prompt in prompts
    ]
    assert {one["status"] for one in results} == {"completed"}
    assert stage.ledger()["used"] == 3

    each = stage.submit(prompts, "--no-dedupe")
    assert stage.quick("run").code == 0
    assert served.count == 3 + 6
    assert stage.counts(each) == {"total": 6, "completed": 6}


def test_a_dry_run_shows_what_it_would_be_and_queues_nothing(stage: Stage):
    served = stage.serve(limit=2)
    stage.write("rows.txt", "eins\nzwei\ndrei\nvier\nfünf\n")
    flags = ("--prompt", "Sag: {{ text }}", "--system", "Knapp.", "--model", MODEL)

    done = stage.quick("submit", "rows.txt", *flags, "--dry-run")

    assert done.code == 0
    assert "Would queue 5 requests" in done.err
    assert "3 days" in done.err
    assert "system: Knapp." in done.err
    assert "user: Sag: eins" in done.err
    assert stage.quick("status", "--json").json() == []
    assert rows_in(stage) == 0

    assert stage.quick("submit", "rows.txt", *flags, "--limit", 2).out == "1\n"
    assert stage.quick("run").code == 0
    assert served.prompts == ["Sag: eins", "Sag: zwei"]


def test_a_dry_run_shows_no_row_that_it_leaves_out(stage: Stage):
    stage.serve()
    rows = [("a", "eins"), ("a", "zwei"), ("b", "drei"), ("c", "vier"), ("d", "fünf")]
    lines = [json.dumps({"id": id, "q": text}) for id, text in rows]
    stage.write("rows.jsonl", "\n".join(lines))
    flags = ("--prompt-column", "q", "--id-column", "id", "--model", MODEL)

    done = stage.quick("submit", "rows.jsonl", *flags, "--skip-bad-rows", "--dry-run")

    assert done.code == 0
    assert "rows.jsonl:2: custom_id 'a' is row 1's too" in done.err
    shown = [line for line in done.err.splitlines() if line.startswith("user: ")]
    assert shown == ["user: eins", "user: drei", "user: vier"]


def half_submitted(stage: Stage) -> Process:
    """A submission from a pipe, of which more than a piece is queued."""
    submitting = stage.start(
        "submit", "-", "--model", MODEL, "--no-dedupe", stdin=subprocess.PIPE
    )
    assert submitting.popen.stdin is not None
    # More than the blocks that a pipe is read in; its end does not come yet.
    submitting.popen.stdin.write(LONG_LINE * LONG_LINES)
    submitting.popen.stdin.flush()
    wait_until(lambda: rows_in(stage) >= PIECE, "a piece in the queue")
    assert submitting.popen.poll() is None
    return submitting


@pytest.mark.fault(52)
@pytest.mark.long
def test_a_submission_that_is_killed_half_way_leaves_nothing(stage: Stage):
    submitting = half_submitted(stage)
    before = stage.quick("status", "--json")
    assert before.json() == []
    assert rows_in(stage) > 0

    submitting.popen.kill()
    submitting.end()
    after = stage.run("status", "--json")

    assert after.code == 0
    assert after.json() == []
    # Who only looks deletes nothing.
    assert rows_in(stage) > 0
    job = stage.submit(["eins", "zwei"])
    assert list((stage.home / "quotabatch.db.locks").iterdir()) == []
    assert stage.counts(job) == {"total": 2, "pending": 2}
    assert rows_in(stage) == 2


@pytest.mark.long
def test_a_submission_under_way_is_seen_by_nobody_until_it_is_whole(stage: Stage):
    served = stage.serve()
    submitting = half_submitted(stage)

    run = stage.quick("run")

    assert run.code == 0
    assert "No pending requests" in run.err
    assert served.count == 0
    done = submitting.end()
    assert done.code == 0, done.err
    counts = stage.counts(done.out.strip())
    assert counts == {"total": LONG_LINES, "pending": LONG_LINES}


@pytest.mark.fault(52)
@pytest.mark.long
def test_an_interrupted_submission_leaves_nothing(stage: Stage):
    submitting = half_submitted(stage)

    submitting.signal(signal.SIGINT)
    done = submitting.end()

    assert done.code == 130
    assert done.out == ""
    assert "Traceback" not in done.err
    assert rows_in(stage) == 0


@pytest.mark.fault(51)
def test_what_cannot_be_submitted_is_said_in_one_line(stage: Stage):
    stage.write("empty.jsonl", "")
    stage.write("cut.jsonl.gz", gzip.compress(jsonl([{"prompt": "a"}] * 99))[:-9])
    stage.write("utf16.csv", "a,b\n1,2\n".encode("utf-16"))
    stage.write("rows.txt", "eins\n")
    stage.write("typo.toml", 'dataset = "rows.txt"\npromt = "x"\n')
    (stage.folder / "folder").mkdir()
    for source, says in (
        ("empty.jsonl", "no rows"),
        ("nowhere.jsonl", "no such file"),
        ("folder", "is a directory"),
        ("cut.jsonl.gz", "cut off"),
        ("utf16.csv", "UTF-16"),
        ("typo.toml", "did you mean 'prompt'?"),
    ):
        done = stage.quick("submit", source, "--model", MODEL)
        assert done.code in (2, 78), source
        assert done.out == ""
        assert done.err.startswith(f"Error: {source}:")
        assert says in done.err
        assert len(done.err.splitlines()) == 1
    no_model = stage.quick("submit", "rows.txt")
    assert no_model.code == 2
    assert "qwen2.5:7b" in no_model.err
    bad_template = stage.quick("submit", "rows.txt", "--prompt", "{{", "--model", MODEL)
    assert bad_template.code == 2
    assert len(bad_template.err.splitlines()) == 1
    assert rows_in(stage) == 0


@pytest.mark.fault(49)
@pytest.mark.long
def test_nothing_is_queued_where_the_jobs_number_cannot_be_told(stage: Stage):
    source = stage.write("rows.txt", "eins\n")
    words = ["submit", str(source), "--model", MODEL]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", str(COMMAND), *words],
        env=stage.environ(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    # Whoever submits it again, told of an error, pays for it once.
    assert stage.quick("status", "--json").json() == []
