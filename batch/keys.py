"""API keys: where one comes from, and the one file that holds any.

A key is never an argument, never in the database; elsewhere only its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch import atomicfiles
from batch.errors import KeyRefusedError

ANY_PROVIDER = "QUOTABATCH_API_KEY"


@dataclass(frozen=True, slots=True)
class Key:
    """A key and where it was found."""

    secret: str
    origin: str

    def __repr__(self) -> str:
        return f"Key({self.origin})"


def fingerprint(secret: str) -> str:
    """Eight hex digits that tell keys apart and give none away."""
    return _digits(f"quotabatch:{secret}")


def former_fingerprint(provider: str, secret: str) -> str:
    """Return the fingerprint that earlier versions made of a provider and its key."""
    return _digits(f"quotabatch:{provider}:{secret}")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def checked(secret: str, origin: str) -> str:
    """The key without the blanks around it; KeyRefusedError if it cannot be one."""
    secret = secret.strip()
    if not secret:
        raise KeyRefusedError(f"the key from {origin} is empty")
    if any(ord(c) < 33 or ord(c) > 126 for c in secret):
        raise KeyRefusedError(
            f"the key from {origin} holds a blank or a character outside ASCII: "
            "copy it again"
        )
    return secret


class KeyRing:
    """The keys that the environment and the key file hold."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self._environ = environ

    def find(self, provider: str, variable: str | None) -> Key | None:
        """The provider's key: its own variable, the general one, or the key file."""
        for name in (variable, ANY_PROVIDER):
            if name and self._environ.get(name):
                return Key(checked(self._environ[name], f"${name}"), f"${name}")
        secret = self.stored().get(provider)
        if secret is None:
            return None
        return Key(checked(secret, str(self.path)), str(self.path))

    def stored(self) -> dict[str, str]:
        """The key file: provider to key."""
        try:
            table = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise KeyRefusedError(
                f"{self.path} cannot be read ({type(error).__name__}): set the key "
                "again with `quotabatch keys set`"
            ) from None
        keys: dict[str, Any] = table if isinstance(table, dict) else {"": None}
        if not all(isinstance(secret, str) for secret in keys.values()):
            raise KeyRefusedError(
                f"{self.path} is not a table of keys: set the key again with "
                "`quotabatch keys set`"
            )
        return keys

    def exposed(self) -> bool:
        """Whether other users of the machine can read the key file."""
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return False
        return bool(mode & (stat.S_IRWXG | stat.S_IRWXO))

    def warning(self) -> str:
        """What to tell of a key file that others can read; empty: they cannot."""
        if not self.exposed():
            return ""
        return f"Warning: others can read {self.path}: chmod 600 {self.path}"

    def store(self, provider: str, secret: str) -> None:
        """Keep this key in the file, for this user's eyes only."""
        secret = checked(secret, "the input")
        try:
            kept = self.stored()
        except KeyRefusedError:
            # What cannot be read is no key any more; this is the way out.
            kept = {}
        self._write({**kept, provider: secret})

    def remove(self, provider: str) -> bool:
        """Forget the provider's key; whether there was one."""
        keys = self.stored()
        found = keys.pop(provider, None) is not None
        if found:
            self._write(keys)
        return found

    def _write(self, keys: Mapping[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps(keys, indent=2) + "\n"
        atomicfiles.replace(self.path, text.encode())
