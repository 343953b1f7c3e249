"""A bad line costs itself and no other: what is queued and what is named are all the
lines that there were.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from random import Random

import pytest
from stage import MODEL, Stage
from truth import prompt_of
from wire import query

LINES = 400
NAMED = re.compile(r"^(?:Error: )?rows\.jsonl:(\d+): \S", re.MULTILINE)
#: What one line of input may make a submission take of the memory, bytes.
MOST = 200 * 1024 * 1024


def damaged(line: bytes, random: Random) -> bytes:
    """The line with a few of its bytes changed, lost or added; still one line."""
    data = bytearray(line)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(data))
        match random.randrange(4):
            case 0:
                data[place] = random.choice([0, 0x22, 0x5C, 0x7B, 0x80, 0xC3, 0xFF])
            case 1:
                del data[place : place + random.randint(1, 9)]
                data += b"}"
            case 2:
                data[place:place] = random.choice(
                    [b"\xed\xa0\x80", b"NaN", b"[" * 2000]
                )
            case _:
                data[place] = random.choice(b' ,:"x}')
    return bytes(data)


@pytest.mark.fault(51)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.long
def test_what_is_queued_and_what_is_named_are_all_the_lines(stage: Stage, seed: int):
    random = Random(seed)
    good = {n: f"frage {n}: 床前明月光" for n in range(1, LINES + 1)}
    lines = [json.dumps({"prompt": one}).encode() for one in good.values()]
    bad = sorted(random.sample(range(1, LINES + 1), LINES // 4))
    for number in bad:
        lines[number - 1] = damaged(lines[number - 1], random)
        del good[number]
    stage.write("rows.jsonl", b"\n".join(lines) + random.choice([b"", b"\n"]))
    words = ("submit", "rows.jsonl", "--model", MODEL)

    strict = stage.quick(*words)

    assert strict.code == 2
    named = [int(number) for number in NAMED.findall(strict.err)]
    # The first of them, in their order; the others are counted.
    assert len(named) == 20
    assert named == sorted(set(named))
    assert set(named) <= set(bad)
    assert not (stage.home / "quotabatch.db").exists() or rows(stage) == {}

    lenient = stage.quick(*words, "--skip-bad-rows", "--no-dedupe", "--json")

    assert lenient.code == 0
    receipt = lenient.json()
    queued = rows(stage)
    assert receipt["requests"] == len(queued)
    assert receipt["requests"] + receipt["bad_lines"] == LINES
    assert f"and {receipt['bad_lines'] - 20:,} more bad lines" in strict.err
    assert {number: queued[number] for number in good} == good
    # What is queued of the damaged ones is what stands there.
    for number in queued.keys() - good.keys():
        assert json.loads(lines[number - 1])["prompt"] == queued[number]


def rows(stage: Stage) -> dict[int, str]:
    """The prompts in the database, by the line that they stood on."""
    found = query(stage, "SELECT custom_id, messages, input FROM requests")
    return {int(name): prompt_of(*kept) for name, *kept in found}


@pytest.mark.fault(51)
@pytest.mark.long
def test_a_line_of_fifty_megabytes_fills_no_memory(stage: Stage):
    submitting = stage.start(
        *("submit", "-", "--model", MODEL, "--skip-bad-rows", "--no-dedupe"),
        stdin=subprocess.PIPE,
    )
    pipe = submitting.popen.stdin
    assert pipe is not None
    good = json.dumps({"prompt": "x" * 1000}).encode() + b"\n"
    pipe.write(good + b'{"prompt": "')
    for _ in range(50):
        pipe.write(b"x" * 1024 * 1024)
    # When these are taken in, the long one is behind it.
    pipe.write(b'"}\n' + good * 5000)
    pipe.flush()
    status = Path(f"/proc/{submitting.pid}/status").read_text()
    done = submitting.end()

    most = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert most
    assert int(most[1]) * 1024 < MOST
    assert done.code == 0, done.err
    assert "<stdin>:2: " in done.err or "-:2: " in done.err
    assert len(rows(stage)) == 5001
