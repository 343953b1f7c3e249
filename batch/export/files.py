"""Files that are replaced as a whole, or stay as they were; several, all or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from batch.export.results import ExportError


class Draft:
    """A file that takes the place of `path` once it is whole and on disk.

    What is no file, a pipe or a device, keeps its place and is written to. Whatever
    goes wrong is an ExportError that names the path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target: Path | None = None
        self._name = self._old = Path()
        self._is_new = False
        self.closed = False
        try:
            if path.exists() and not path.is_file():
                self._file: IO[bytes] = path.open("wb")
                return
            self._target = path.resolve()
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name}-", dir=self._target.parent
            )
            self._name = Path(name)
            self._old = Path(f"{name}.old")
            self._file = os.fdopen(handle, "wb")
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}") from None

    def write(self, data: bytes, /) -> int:
        with self._explained():
            return self._file.write(data)

    def flush(self) -> None:
        with self._explained():
            self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """All is on disk, and ready to take its place."""
        with self._explained():
            self._file.flush()
            if self._target is not None:
                os.fsync(self._file.fileno())
                os.chmod(self._name, _mode_of(self._target))
            self.closed = True
            self._file.close()

    def put(self, *, may_be_undone: bool) -> None:
        """Take the place."""
        if self._target is None:
            return
        with self._explained():
            self._is_new = not self._target.exists()
            if may_be_undone and not self._is_new:
                # Where there are no links, it cannot be undone.
                with suppress(OSError):
                    os.link(self._target, self._old)
            os.replace(self._name, self._target)

    def undo(self) -> None:
        """Give the place back to what was there."""
        if self._target is None:
            return
        with suppress(OSError):
            if self._old.exists():
                os.replace(self._old, self._target)
            elif self._is_new:
                self._target.unlink()

    def drop(self) -> None:
        """Leave nothing behind but what has taken its place."""
        if not self.closed:
            self.closed = True
            with suppress(OSError):
                self._file.close()
        if self._target is not None:
            self._name.unlink(missing_ok=True)
            self._old.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = "" if self._target is None else "; what was there is unchanged"
            raise ExportError(
                f"cannot write {self.path}: {error.strerror}{kept}"
            ) from None


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[Draft]]:
    """Files that take the places of `paths` when the block ends well: all, or none."""
    with ExitStack() as stack:
        drafts = []
        for path in paths:
            drafts.append(Draft(path))
            stack.callback(drafts[-1].drop)
        yield drafts
        for draft in drafts:
            draft.close()
        placed: list[Draft] = []
        try:
            for draft in drafts:
                draft.put(may_be_undone=draft is not drafts[-1])
                placed.append(draft)
        except BaseException:
            for draft in placed:
                draft.undo()
            raise


def _mode_of(path: Path) -> int:
    """The permissions that a plain `open` would leave."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
