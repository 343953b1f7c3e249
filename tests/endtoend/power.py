"""What a disk holds when the power fails: all that was synchronised, and of the rest
whatever it likes, in sectors. Replayed from a log of strace.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
#: What a log must hold, with `-xx -y` and no string cut short.
SYSCALLS = (
    "openat,pwrite64,write,ftruncate,fdatasync,fsync,unlink,rename,link,sendto,close"
)

_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_FILE = re.compile(r"(?P<fd>\d+)<(?P<path>[^>]*)>")
_STRING = re.compile(r'"([^"]*)"')


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _first(rest: str) -> bytes:
    """The first string of a call."""
    found = _STRING.search(rest)
    return _text(found[1]) if found else b""


@dataclass
class File:
    """One file, whatever its names are."""

    safe: bytearray = field(default_factory=bytearray)
    #: What may be lost: where it was written, None for a cut at that place.
    unsafe: list[tuple[int, bytes | None]] = field(default_factory=list)

    def synchronise(self) -> None:
        for at, data in self.unsafe:
            _put(self.safe, at, data)
        self.unsafe.clear()

    def image(self, chance: random.Random | None) -> bytes:
        """What is there after the power is back; no chance: only what is safe."""
        content = bytearray(self.safe)
        if chance is not None:
            for at, data in self.unsafe:
                for piece in range(0, len(data or b"x"), SECTOR):
                    if chance.random() < 0.5:
                        part = None if data is None else data[piece : piece + SECTOR]
                        _put(content, at + piece, part)
        return bytes(content)


def _put(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


Names = dict[str, File]


class Disk:
    """A folder on it: names that are safe, and changes to them that may be lost."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.names: Names = {
            path.name: File(bytearray(path.read_bytes()))
            for path in folder.iterdir()
            if path.is_file()
        }
        self._safe = dict(self.names)
        #: In their order: a journal keeps it.
        self._unsafe: list[Names] = []

    def image(self, chance: random.Random | None) -> dict[str, bytes]:
        """The files, as they are found after the power is back."""
        names = self._safe
        if chance is not None and self._unsafe:
            names = chance.choice([names, *self._unsafe])
        return {name: file.image(chance) for name, file in names.items()}

    def call(self, name: str, rest: str) -> bool:
        """One system call; whether it concerned this folder."""
        strings = [_text(one) for one in _STRING.findall(rest)]
        if name in ("unlink", "rename", "link", "openat"):
            return self._rename(name, [one.decode() for one in strings], rest)
        opened = _FILE.match(rest)
        if opened is None:
            return False
        path = _text(opened["path"]).decode(errors="replace")
        if path == self._folder and name in ("fsync", "fdatasync"):
            self._safe, self._unsafe = dict(self.names), []
            return True
        file = self.names.get(self._name(path) or "")
        if file is None:
            return False
        numbers = [int(one) for one in re.findall(r", (\d+)", rest)]
        match name:
            case "pwrite64":
                file.unsafe.append((numbers[1], strings[0]))
            case "ftruncate":
                file.unsafe.append((numbers[0], None))
            case "fsync" | "fdatasync":
                file.synchronise()
            case _:
                return False
        return True

    def _rename(self, call: str, paths: list[str], rest: str) -> bool:
        names = [self._name(path) for path in paths]
        if call == "openat":
            if "O_CREAT" not in rest or names[0] is None or names[0] in self.names:
                return False
            self.names[names[0]] = File()
        elif None in names or names[0] not in self.names:
            return False
        else:
            first, *second = [str(name) for name in names]
            for name in second:
                self.names[name] = self.names[first]
            if call != "link":
                del self.names[first]
        self._unsafe.append(dict(self.names))
        return True

    def _name(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        return name if folder == self._folder else None


@dataclass(frozen=True)
class Moment:
    """The disk after a call, and what the world had been told by then."""

    disk: Disk
    call: str
    #: Calls that were sent to the endpoint.
    sent: int
    printed: bytes


def replay(disk: Disk, log: Path) -> Iterator[Moment]:
    """Every moment at which something changed."""
    sent, printed = 0, b""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            resumed = _RESUMED.match(line)
            found = resumed or _CALL.match(line)
            if found is None:
                continue
            name, rest = found["name"], found["rest"]
            if resumed:
                if found["thread"] not in begun:
                    continue  # It was taken when it began.
                rest = begun.pop(found["thread"]) + rest
            elif "<unfinished" in rest and name in ("fsync", "fdatasync", "link"):
                # What it promises is true when it comes back.
                begun[found["thread"]] = rest
                continue
            if name in ("sendto", "write") and _first(rest).startswith(b"POST"):
                sent += 1  # uvloop writes where asyncio sends.
            elif name == "write" and rest.startswith("1<"):
                printed += _first(rest)
            elif not disk.call(name, rest):
                continue
            yield Moment(disk, name, sent, printed)
