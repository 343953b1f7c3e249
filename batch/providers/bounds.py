"""How long and how large a call may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long, in seconds, and how large, in bytes, a call may be."""

    connect: float = 10.0
    first_byte: float = 120.0
    silence: float = 60.0
    total: float = 600.0
    size: int = 8 * 1024 * 1024
    #: Idle connections kept for the next calls, where the profile wants any.
    idle: int = 0
