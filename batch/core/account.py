"""An account: the allowance that a host keeps for one key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key at a host, whatever profiles name it."""

    #: The profile that it is used by.
    provider: str
    #: Scheme, host and port; empty where none is configured.
    host: str
    fingerprint: str
    #: Providers and fingerprints by which earlier versions knew it, its own first.
    former: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.provider}:{self.fingerprint}"

    @property
    def name(self) -> str:
        """Its name in the file that tells where ledgers are."""
        return f"{self.fingerprint} at {self.host}"

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that earlier versions gave it in that file."""
        return tuple(f"{provider}:{mark}" for provider, mark in self.former)
