from __future__ import annotations

import os
from pathlib import Path

import pytest

from batch.export.files import replacing
from batch.export.results import ExportError


def write(*paths: Path, spoil: Path | None = None) -> None:
    """Write each file's own name into it; `spoil` becomes a folder meanwhile."""
    with replacing(paths) as files:
        for path, file in zip(paths, files, strict=True):
            file.write(f"new {path.name}".encode())
        if spoil is not None:
            spoil.unlink(missing_ok=True)
            (spoil / "in the way").mkdir(parents=True)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "one", tmp_path / "two"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_files_are_written(two: tuple[Path, Path]):
    two[0].write_text("old")
    write(*two)
    assert [path.read_text() for path in two] == ["new one", "new two"]
    assert left(two[0].parent) == ["one", "two"]


@pytest.mark.parametrize("was_there", [True, False])
def test_where_the_second_cannot_take_its_place_the_first_does_not_either(
    two: tuple[Path, Path], was_there: bool
):
    first, second = two
    if was_there:
        first.write_text("old")
        first.chmod(0o640)
    with pytest.raises(ExportError, match=r"cannot write .*two: .*is unchanged"):
        write(first, second, spoil=second)
    assert left(first.parent) == (["one", "two"] if was_there else ["two"])
    if was_there:
        assert first.read_text() == "old"
        assert first.stat().st_mode & 0o777 == 0o640


def test_where_the_first_cannot_take_its_place_the_second_stays(two):
    first, second = two
    second.write_text("old")
    with pytest.raises(ExportError, match=r"cannot write .*one: "):
        write(first, second, spoil=first)
    assert second.read_text() == "old"
    assert left(first.parent) == ["one", "two"]


def test_an_error_while_writing_leaves_both_as_they_were(two: tuple[Path, Path]):
    def half() -> None:
        with replacing(two) as files:
            files[1].write(b"half")
            raise ZeroDivisionError

    two[0].write_text("old")
    with pytest.raises(ZeroDivisionError):
        half()
    assert left(two[0].parent) == ["one"]
    assert two[0].read_text() == "old"


def test_a_device_is_written_into_and_named_where_it_is_full(two: tuple[Path, Path]):
    write(two[0], Path(os.devnull))
    assert two[0].read_text() == "new one"
    with pytest.raises(ExportError, match="cannot write /dev/full: No space left"):
        write(two[1], Path("/dev/full"))
    assert left(two[0].parent) == ["one"]
