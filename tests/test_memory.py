"""Too little memory shows in many ways; each is told by the same plain line."""

from __future__ import annotations

import errno
import gc

import pytest

from batch import __main__, memory
from batch.cli import app, console

SHORT = [
    MemoryError(),
    SystemError("error return without exception set"),
    OSError(errno.ENOMEM, "Cannot allocate memory", "site-packages/rich"),
    ImportError("libx.so: failed to map segment from shared object"),
    RuntimeError("can't start new thread"),
]
OTHERS = [
    OSError(errno.ENOENT, "No such file or directory", "rows.jsonl"),
    ImportError("No module named 'rich'"),
    RuntimeError("something else"),
]
TOLD = "Error: out of memory: free some and run again\n"


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_want_of_memory_is_known_by_its_signs(error):
    assert memory.is_short(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_what_fails_for_another_reason_is_no_want_of_memory(error):
    assert not memory.is_short(error)


@pytest.mark.parametrize("error", SHORT, ids=repr)
@pytest.mark.parametrize("shown", SHORT, ids=repr)
def test_it_is_told_even_where_nothing_can_be_shown(
    monkeypatch, capfd, error: Exception, shown: Exception
):
    """What shows errors is loaded only with the first, and may want memory itself."""

    raised = [OTHERS[2], error]

    def fails(*_args: object, **_more: object) -> None:
        raise raised.pop()

    def shows_nothing(_message: str) -> None:
        raise shown

    monkeypatch.setattr(app, "app", fails)
    monkeypatch.setattr(console, "error", shows_nothing)
    while raised:
        assert app.call() == 1
        assert capfd.readouterr().err == TOLD


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_so_it_is_where_the_command_line_itself_cannot_be_loaded(
    monkeypatch, capfd, error: Exception
):
    def fails() -> int:
        raise error

    monkeypatch.setattr(app, "call", fails)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 1
    assert capfd.readouterr().err == TOLD
