"""Runs that look out at what the service says, and the clock."""

from __future__ import annotations

from datetime import timedelta

from world import World

HOUR = timedelta(hours=1)
LONG = 3600.0


def evidence(world: World) -> list[str]:
    return [what for (what,) in world.query("SELECT what FROM evidence ORDER BY id")]
