"""On a terminal: the live display, a key typed unseen, a question before deleting."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from stage import KEY, MODEL, PATIENCE, GateClock, Stage, wait_until

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOURS = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


class Terminal:
    """A command at a terminal of its own; all that it shows is kept."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        size = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
        self.popen = subprocess.Popen(
            command, env={**env, **size}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def raw(self) -> str:
        return self._shown.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What it showed, without colours and moves."""
        return ESCAPES.sub("", self.raw)

    def shows(self, text: str) -> None:
        """Wait until it has shown this."""
        wait_until(lambda: text in self.text, f"{text!r} on the terminal")

    def hides(self) -> None:
        """Wait until what is typed is not shown: what came before is thrown away."""

        def is_hidden() -> bool:
            return not termios.tcgetattr(self._ours)[3] & termios.ECHO

        wait_until(is_hidden, "a hidden prompt")

    def types(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.end()
        os.close(self._ours)

    def _read(self) -> None:
        # Linux says EIO when the other side is gone.
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self._shown += piece


@contextmanager
def terminal(
    stage: Stage, *args: object, env: Mapping[str, str | None] | None = None
) -> Iterator[Terminal]:
    shown = Terminal(stage.command(*args), stage.environ(env))
    try:
        yield shown
    finally:
        shown.close()


def test_the_live_display_shows_progress_credits_and_the_newest_answer(stage: Stage):
    def answer(body: Mapping) -> str:
        # Neither markup nor escape sequences of an answer are obeyed.
        return (
            f"\x1b[2J[bold]回答[/bold] key {KEY} for {body['message'][-1]['content']}"
        )

    served = stage.serve(
        limit=6, latency=1, clock=GateClock(passes=5), answer=answer, chunks=40
    )
    stage.submit([f"frage {n}" for n in range(8)], "--name", "[red]x[/red]")

    with terminal(stage, "run", "--concurrency", 1) as live:
        live.shows("5 of 8 answered")
        live.shows("6 of 6 credits")
        live.shows("6 calls in this run, 1 in flight")
        live.shows("answers a minute")
        live.shows("[bold]回答[/bold]")
        live.shows("for frage 4")
        served.open_gate()
        assert live.end() == 75

    assert served.count == 6
    assert "\x1b[2J" not in live.raw
    assert COLOURS.search(live.raw)
    assert "Job 1 ([red]x[/red]): 6 of 8 answered, 2 waiting." in live.text
    assert "\x1b[?25h" in live.raw  # the cursor is back


@pytest.mark.long
def test_the_live_display_never_shows_the_key_though_the_answer_does(stage: Stage):
    served = stage.serve(
        latency=1,
        clock=GateClock(passes=2),
        answer=lambda _: f"your key is {KEY}, and that is all",
        chunks=200,
    )
    stage.submit(["eins", "zwei", "drei"], "--no-dedupe")

    with terminal(stage, "run", "--concurrency", 1) as live:
        live.shows("2 of 3 answered")
        live.shows("that is all")
        served.open_gate()
        assert live.end() == 0

    for length in range(len(KEY), 12, -1):
        assert KEY[:length] not in live.text


@pytest.mark.long
def test_no_color_is_respected(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=1))
    stage.submit(["eins", "zwei"])

    with terminal(stage, "run", env={"NO_COLOR": "1"}) as live:
        live.shows("1 of 2 answered")
        served.open_gate()
        assert live.end() == 0

    assert not COLOURS.search(live.raw)


def test_a_key_is_typed_unseen(stage: Stage):
    with terminal(stage, "keys", "set", env={"ESPAI_API_KEY": None}) as typing:
        typing.shows("Key for espai")
        typing.hides()
        typing.types(KEY + "\n")
        assert typing.end() == 0

    assert KEY not in typing.raw
    assert KEY in (stage.home / "keys.json").read_text()


@pytest.mark.long
def test_deleting_asks_and_takes_no_for_an_answer(stage: Stage):
    job = stage.submit(["eins"])

    with terminal(stage, "delete", job) as asking:
        asking.shows("[y/N]")
        asking.types("n\n")
        assert asking.end() != 0
    assert stage.counts(job) == {"total": 1, "pending": 1}
    assert "is deleted" not in asking.text

    with terminal(stage, "delete", job) as asking:
        asking.shows("[y/N]")
        asking.types("y\n")
        assert asking.end() == 0
    assert stage.quick("status", "--json").json() == []


@pytest.mark.long
def test_a_long_note_is_broken_between_words(stage: Stage):
    path = stage.write("prompts.txt", "eins\n")
    words = ("submit", path, "--model", MODEL)
    with terminal(stage, *words, env={"ESPAI_API_KEY": None}) as shown:
        assert shown.end() == 0
    assert max(map(len, shown.text.splitlines())) <= 120
    assert "until then `run` skips the job, and no day" in " ".join(shown.text.split())


def test_status_watches_until_it_is_interrupted(stage: Stage):
    stage.submit(["eins"], "--name", "exp [v2] [/b] x")
    with terminal(stage, "status", "--watch") as watching:
        watching.shows("exp [v2] [/b] x")
        watching.shows("0 of 1 answered")
        watching.popen.send_signal(signal.SIGINT)
        assert watching.end() == 130
    assert "Traceback" not in watching.text
