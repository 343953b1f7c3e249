"""Quotas as a user writes them into config.toml, and runs under them."""

from __future__ import annotations

from stage import DAY, Stage

from batch.clock import SystemClock

EVERY = {
    "days": 'window = "day"',
    "months": 'window = "month"',
    "minutes": 'window = "minute"',
    "rolls": 'window = "rolling", period = "24h"',
    "begins": 'window = "first-call", period = "5h"',
    "refills": 'window = "refill", period = "24h"',
    "given": 'window = "grant"',
}


def configure(stage: Stage, *quotas: str, more: str = "") -> None:
    """These are the quotas of the profile."""
    stage.home.mkdir(mode=0o700, exist_ok=True)
    made = ", ".join(f"{{ {quota} }}" for quota in quotas)
    text = f"[profiles.espai]\nquotas = [{made}]\n{more}\n"
    (stage.home / "config.toml").write_text(text)


def day_after(days: int) -> str:
    return (SystemClock().now() + days * DAY).date().isoformat()
