"""The power fails at any moment of a run: what was promised by then is on the disk.

Before the next call is made, the answers before it are stored, and its own credit is
taken: so every call that was sent tells what must be found.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import power
import pytest
import strace
from power import Disk, Moment
from stage import MODEL, Served, Stage
from strace import needs_strace
from truth import Book, all_answered, book, database

pytestmark = [needs_strace, pytest.mark.fault(7)]


def laid_out(image: Mapping[str, bytes], folder: Path) -> Path:
    """A disk as it is found, in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)
    return folder / "quotabatch.db"


def images(moment: Moment, chance: random.Random) -> Iterator[dict[str, bytes]]:
    """Only what is safe; and with it some of what is not."""
    yield moment.disk.image(None)
    yield moment.disk.image(chance)


def keeps_its_word(found: Book, served: Served, prompts: list[str], sent: int) -> None:
    assert found.check == "ok"
    stored = prompts[: max(0, sent - 1)]
    assert found.answered.keys() >= set(stored)
    for prompt, text in found.answered.items():
        assert text == served.answer_to(prompt)
    assert found.spent >= sent


def ran(stage: Stage, prompts: list[str]) -> Iterator[Moment]:
    """A run that was recorded, moment by moment: one call at a time."""
    stage.submit(prompts)
    disk = Disk(stage.home)
    done, log = strace.recorded(stage, power.SYSCALLS, "run", "--concurrency", 1)
    assert done.code == 0, done.err
    yield from power.replay(disk, log)


def test_a_call_that_another_thread_cuts_in_two_is_taken_once(tmp_path: Path):
    """Writing when it begins; what it promises, when it comes back."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(b"old")

    def escaped(text: str) -> str:
        return "".join(f"\\x{byte:02x}" for byte in text.encode())

    name = escaped(str(home / "a"))
    log = tmp_path / "log"
    log.write_text(
        f"""\
1 pwrite64(3<{name}>, "{escaped("new")}", 3, 0 <unfinished ...>
2 close(5<{name}> <unfinished ...>
1 <... pwrite64 resumed>) = 3
1 fdatasync(3<{name}> <unfinished ...>
2 <... close resumed>) = 0
1 <... fdatasync resumed>) = 0
"""
    )
    moments = [
        (moment.call, moment.disk.image(None)["a"])
        for moment in power.replay(Disk(home), log)
    ]
    assert moments == [("pwrite64", b"old"), ("fdatasync", b"new")]


@pytest.mark.long
def test_a_run_keeps_its_word_when_the_power_fails(stage: Stage):
    served = stage.serve(limit=None)
    prompts = [f"frage {n}" for n in range(4)]
    chance = random.Random(7)
    moments = 0
    for moment in ran(stage, prompts):
        moments += 1
        for image in images(moment, chance):
            path = laid_out(image, stage.aside / "image")
            found = book(path, stage.aside / "copy")
            keeps_its_word(found, served, prompts, moment.sent)
    assert moments > 100
    assert moment.sent == served.count == 4


@pytest.mark.long
def test_a_run_goes_on_when_the_power_is_back(stage: Stage):
    """From disks that were found at every twelfth moment."""
    served = stage.serve(limit=None)
    prompts = [f"frage {n}" for n in range(4)]
    chance = random.Random(8)
    found = [
        (moment.sent, image)
        for number, moment in enumerate(ran(stage, prompts))
        for image in images(moment, chance)
        if number % 12 == 0
    ]
    assert len(found) > 10
    for sent, image in found:
        for path in stage.home.glob("quotabatch.db*"):
            if path.is_file():
                path.unlink()
        for name, content in image.items():
            (stage.home / name).write_bytes(content)
        before = book(database(stage), stage.aside / "copy")
        calls = served.count
        assert stage.quick("run").code == 0
        after = book(database(stage), stage.aside / "copy")
        all_answered(stage, served, after)
        # Bought again is only what was in flight.
        assert served.count - calls == len(prompts) - len(before.answered)
        assert served.count - calls <= len(prompts) - max(0, sent - 1)


@pytest.mark.long
def test_a_run_keeps_its_word_also_while_the_log_is_folded(stage: Stage):
    """Long answers: the log is folded again and again, and begun anew."""

    def answer(body: Mapping[str, Any]) -> str:
        prompt = body["message"][-1]["content"]
        return f"{prompt} " + prompt[-1] * 700_000

    served = stage.serve(limit=None, answer=answer)
    prompts = [f"frage {n}" for n in range(14)]
    chance = random.Random(9)
    checked = folded = 0
    for before, moment in pairwise(ran(stage, prompts)):
        # Around what makes something safe, and now and then.
        near = {before.call, moment.call} & {"fdatasync", "unlink", "ftruncate"}
        if not near and chance.random() > 0.01:
            continue
        folded += moment.call == "fdatasync" and moment.sent < 14
        for image in images(moment, chance):
            path = laid_out(image, stage.aside / "image")
            found = book(path, stage.aside / "copy")
            keeps_its_word(found, served, prompts, moment.sent)
            checked += 1
    assert checked > 100


def test_a_job_whose_number_was_printed_is_there_when_the_power_is_back(stage: Stage):
    """Also where the database was made for it."""
    stage.home.mkdir(mode=0o700)
    disk = Disk(stage.home)
    rows = stage.write("rows.txt", "eins\nzwei\ndrei\n")
    words = ("submit", rows, "--model", MODEL)
    done, log = strace.recorded(stage, power.SYSCALLS, *words)
    assert done.code == 0, done.err
    chance = random.Random(10)
    found: Book | None = None
    for number, moment in enumerate(power.replay(disk, log)):
        if number % 5 and not moment.printed:
            continue
        for image in images(moment, chance):
            path = laid_out(image, stage.aside / "image")
            if not path.exists():
                assert not moment.printed
                continue
            found = book(path, stage.aside / "copy")
            assert found.check == "ok"
            assert len(found.rows) in (0, 3)
            if moment.printed:
                assert len(found.rows) == 3
    assert found is not None
    assert moment.printed
