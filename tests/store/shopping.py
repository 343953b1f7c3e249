"""Claims whose calls cost what they cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from scene import NOON, RELEASED, Scene, daily
from till import answer, claims, quota

from batch.core.model import Claim
from batch.core.price import Learned, Price
from batch.core.quota import Quota, WindowKind
from batch.store import estimates, opening
from batch.store.purse import Holder

#: A credit for every 100 characters of the answer, as ESP-AI has it since 2025.
ESPAI = Price(call=0, answer_chars=100, prompt_chars=200, prompt_free=500)
#: A credit for the call, and one for every 1,000 tokens.
TOKENS = Price(call=1, tokens=1000)
MODEL = "qwen2.5:7b"
#: What is expected of an answer of which nothing is known: 400 characters.
FIRST = 4

every_kind = pytest.mark.parametrize("kind", sorted(WindowKind))


def some(kind: WindowKind, limit: int) -> Quota:
    made = quota(kind, limit)
    return replace(made, zone=daily().zone) if kind is WindowKind.DAY else made


def one_claim(scene: Scene, holder: Holder, now: datetime = NOON) -> Claim:
    (claim,) = claims(scene, 1, now, holder)
    return claim


def settle(scene: Scene, holder: Holder, claim: Claim, size: int, **more: Any) -> None:
    now = more.pop("now", NOON)
    scene.settle(answer(claim, holder.price, size, **more), now=now, holder=holder)


def learned(scene: Scene, model: str = MODEL) -> Learned:
    return estimates.learned(scene.connection, scene.account_id, model)


def check(scene: Scene, *quotas: Quota, now: datetime = NOON) -> None:
    """Windows, entries and tallies say the same."""
    taken = [row for row in scene.entries() if row.state != RELEASED]
    for one in quotas:
        opened = opening.open_windows(scene.connection, scene.account_id, [one], now)
        total = sum(getattr(row, one.unit) for row in taken)
        if one.kind is not WindowKind.REFILL:
            assert opened[-1].used == total
    by_job: Counter[int] = Counter()
    calls: Counter[int] = Counter()
    for row in taken:
        if row.request_id is not None:
            job_id = scene.request(row.request_id).job_id
            by_job[job_id] += row.credits
            calls[job_id] += row.calls
    for job_id in calls:
        job = scene.again(job_id)
        assert (job.credits, job.attempts) == (by_job[job_id], calls[job_id])
