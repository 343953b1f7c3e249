"""Time zones by name, and a plain word where this machine knows none at all."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batch.errors import ConfigError


def zone(name: str) -> ZoneInfo | None:
    """The zone of this name, None where there is none.

    ConfigError where the machine has no zone data.
    """
    found = _zone(name)
    if found is None and _zone("Etc/UTC") is None:
        raise ConfigError(
            "this machine has no time zone data, so nobody knows when a day ends: "
            "install the package tzdata (`pip install tzdata`)"
        )
    return found


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
