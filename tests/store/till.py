"""More to put on a scene: quotas of every kind, prices, jobs that name models or have a
cap, and answers that are settled by what they cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from scene import COMPLETED, DAY, NOON, PENDING, SPENT, Scene, answered

from batch.core.model import Claim, Completion, Failure, Job, Settlement
from batch.core.price import Price, actual, answer_tokens
from batch.core.quota import Quota, WindowKind, default_guard
from batch.store import jobs, queue, queueing, submitting
from batch.store.purse import Holder
from batch.store.queue import Claimed
from batch.store.queueing import Draft

MODEL = "qwen2.5:7b"
MILLISECOND = timedelta(milliseconds=1)


def quota(
    kind: WindowKind, limit: int = 5, period: timedelta = DAY, **more: Any
) -> Quota:
    """A quota called q, with the guard that its kind has."""
    more.setdefault("guard", default_guard(kind, period))
    return Quota(
        **{"name": "q", "limit": limit, "kind": kind, "period": period, **more}
    )


def a_job(
    scene: Scene,
    size: int = 30,
    *,
    model: str = MODEL,
    models: Sequence[str | None] = (),
    cap: int | None = None,
    prompt: str = "hi",
    params: dict[str, Any] | None = None,
    priority: int = 0,
) -> Job:
    """A job; `models`: of its rows in turn, where they name their own."""
    connection = scene.connection
    job_id = submitting.create(
        connection,
        name="a job",
        provider="espai",
        model=model,
        params=params or {},
        max_attempts=1000,
        priority=priority,
        submission="submission-0",
        now=NOON,
        daily_cap=cap,
    )
    first_id = queueing.next_request_id(connection)
    messages = orjson.dumps([{"role": "user", "content": prompt}]).decode()
    drafts = [
        Draft(
            number=place + 1,
            custom_id=f"row-{place + 1}",
            input="{}",
            messages=messages,
            model=models[place % len(models)] if models else None,
            params=None,
        )
        for place in range(size)
    ]
    queueing.enqueue(connection, job_id, first_id, drafts, {})
    submitting.publish(
        connection,
        job_id,
        total=size,
        duplicates=0,
        columns=["name"],
        first_id=first_id,
        last_id=first_id + size - 1,
        models=sorted({one for one in models if one}),
    )
    return scene.again(job_id)


def holding(scene: Scene, *quotas: Quota, keep: int = 0, price: Price | None = None):
    """One more runner, which goes by these quotas."""
    holder = scene.runner(quotas=quotas, keep=keep)
    return holder if price is None else replace(holder, price=price)


def claims(
    scene: Scene,
    slots: int,
    now: datetime,
    holder: Holder | None = None,
    *of: Job,
) -> list[Claim]:
    return scene.claim(slots, now, holder=holder, of=of or None).claims


def answer(
    claim: Claim,
    price: Price,
    size: int = 100,
    usage: dict[str, Any] | None = None,
) -> Settlement:
    """An answer of so many characters, settled by what it cost."""
    text = "a" * size
    return Settlement(
        entry_id=claim.entry_id,
        request_id=claim.request_id,
        state=COMPLETED,
        credit=SPENT,
        completion=Completion(text=text, finish_reason="stop", usage=usage),
        cost=actual(price, claim.messages, text, usage),
        size=(size, answer_tokens(text, usage)),
    )


def refused(request_id: int) -> Settlement:
    """A call that the endpoint did not answer, for want of credits."""
    return Settlement(
        entry_id=0,
        request_id=request_id,
        state=PENDING,
        credit=SPENT,
        failure=Failure(
            code="endpoint_error",
            message="no more",
            sent=True,
            status=200,
            endpoint_code="4002",
        ),
        verdict="exhausted",
    )


@contextmanager
def what_if(scene: Scene):
    """What happens in here is undone."""
    point = scene.connection.begin_nested()
    try:
        yield
    finally:
        point.rollback()


def would_get(
    scene: Scene, slots: int, now: datetime, holder: Holder | None = None, *of: Job
) -> int:
    """How many calls a claim would bring."""
    with what_if(scene):
        return len(claims(scene, slots, now, holder, *of))


def room(scene: Scene, now: datetime, holder: Holder | None = None, *of: Job) -> int:
    """How many calls there are, when each is answered before the next one.

    The first of a new window may have to go alone.
    """
    with what_if(scene):
        for number in range(30):
            got = claims(scene, 1, now, holder, *of)
            if not got:
                return number
            one = answered(got[0].request_id)
            scene.settle(one, now=now, holder=holder or scene.holder)
    raise AssertionError("there is no end of it")


def denial(
    scene: Scene, now: datetime, holder: Holder | None = None, *of: Job
) -> datetime:
    """When a claim that brings nothing may be made again."""
    got: Claimed = queue.claim(
        scene.connection,
        holder or scene.holder,
        of or jobs.listed(scene.connection, active=True),
        9,
        now,
    )
    assert got.claims == []
    assert got.denied_until is not None
    return got.denied_until


def spent(scene: Scene, what: str = "calls") -> int:
    """What the entries say was taken, what is reserved included."""
    rows: Iterable[Any] = scene.entries()
    return sum(getattr(row, what) for row in rows if row.state != "released")
