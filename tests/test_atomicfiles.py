"""Files that stand under their name whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from batch import atomicfiles


def test_a_file_is_replaced_whole_and_its_owner_alone_may_read_it(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_text("earlier, and longer than what follows")
    path.chmod(0o644)
    atomicfiles.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path):
    target = tmp_path / "elsewhere" / "ledgers.json"
    target.parent.mkdir()
    target.write_text("earlier")
    link = tmp_path / "ledgers.json"
    link.symlink_to(target)
    atomicfiles.replace(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_whatever_goes_wrong_the_earlier_file_stays(
    tmp_path: Path, call: str, error: BaseException
):
    path = tmp_path / "keys.json"
    path.write_text("earlier")

    def fail(*_: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            atomicfiles.replace(path, b"new")
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_moved_only_where_none_is(tmp_path: Path, has_links: bool):
    path = tmp_path / "q.db"
    with pytest.MonkeyPatch.context() as patch:
        if not has_links:

            def refuse(*_: Any) -> None:
                raise PermissionError(1, "Operation not permitted")

            patch.setattr(os, "link", refuse)
        for text in ("first", "second"):
            with atomicfiles.scratch(path) as beside:
                beside.write_text(text)
                if text == "first":
                    atomicfiles.place(beside, path)
                else:
                    with pytest.raises(FileExistsError):
                        atomicfiles.place(beside, path)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
