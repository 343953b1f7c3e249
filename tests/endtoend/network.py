"""A machine of its own, in a network namespace: its lines to others can be cut."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Addresses that belong to nobody (RFC 5737): one line to each.
DATABASE, ENDPOINT = "203.0.113", "198.51.100"


@dataclass(frozen=True)
class Namespace:
    """Reached by two lines: .1 is here, .2 is there."""

    name: str

    @property
    def under(self) -> tuple[str, ...]:
        """The words that start a program there."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Nothing passes between it and the database."""
        _ip("link", "set", f"{self.name}d", "down")

    def heal(self) -> None:
        _ip("link", "set", f"{self.name}d", "up")


@contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    """Such a machine; only root can make one."""
    _ip("netns", "add", name)
    try:
        for line, net in (("d", DATABASE), ("e", ENDPOINT)):
            here, there = f"{name}{line}", f"{name}{line}1"
            _ip("link", "add", here, "type", "veth", "peer", there, "netns", name)
            _ip("addr", "add", f"{net}.1/30", "dev", here)
            _ip("link", "set", here, "up")
            _ip("-n", name, "addr", "add", f"{net}.2/30", "dev", there)
            _ip("-n", name, "link", "set", there, "up")
        yield Namespace(name)
    finally:
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
