"""Whatever happens, no credit and no answer goes astray."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from random import Random

import pytest
from happenings import PASSING, RESET, interrupted
from world import a_world


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.fault(25, 27, 30, 32, 37)
@pytest.mark.long
async def test_whatever_happens_no_credit_and_no_answer_goes_astray(tmp_path, seed):
    random = Random(seed)
    limit = random.randint(5, 12)
    prompts = random.randint(10, 30)
    # Only what passes, and what ends a run; in plenty.
    kinds = [*PASSING, "exhausted", "http:401", "redirect", "http:404"]
    faults = {
        number: random.choice(kinds)
        for number in range(1, 200)
        if random.random() < random.choice([0.05, 0.3])
    }
    async with a_world(
        tmp_path,
        limit=limit,
        start=RESET - timedelta(seconds=random.choice([10, 70, 600, 40_000])),
        ahead=timedelta(seconds=random.uniform(-50, 50)),
        latency=random.choice([0.0, 1.0, 45.0]),
        faults={n: "cut" if f == "stall" else f for n, f in faults.items()},
        nap=600.0,
    ) as world:
        world.submit(prompts, max_attempts=50)
        runs = 0
        while "pending" in world.statuses():
            runs += 1
            assert runs < 80
            if random.random() < 0.3:
                number = len(world.calls) + random.randint(1, 6)
                times = random.choice([1, 2])
                world.on_call[number] = partial(interrupted, world, times)
            await world.run(
                concurrency=random.randint(1, 5),
                wait=random.random() < 0.7,
                max_calls=random.choice([None, None, random.randint(1, 9)]),
                max_failures=random.choice([3, 10, 50]),
            )
            world.check()
            world.clock.time += timedelta(minutes=random.choice([1, 1, 61, 300]))
        assert world.statuses() == {"completed": prompts}
        # What was paid for and got lost is what was stopped in mid-call.
        doubtful = world.errors().get("in_doubt", 0)
        assert world.entries()["spent"] - len(world.calls) <= doubtful
        answered = Counter(c.prompt for c in world.calls if c.outcome == "answered")
        assert sum(answered.values()) - prompts <= doubtful
        attempts = {line["custom_id"]: line["attempts"] for line in world.export()}
        assert sum(attempts.values()) == world.entries()["spent"]
