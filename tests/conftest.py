"""What every test stands on: laws are tried with the same examples every time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("law", derandomize=True, deadline=None)
settings.load_profile("law")
