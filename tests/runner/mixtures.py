"""Random mixtures of requests, models, jobs and providers.

Rows that are answered at once, late, with what the job cannot use, or never; models
that are refused or only fail; providers that are dead, die, and recover in mid-run.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from world import KEY, MODEL

from batch.standin.service import Standin

OTHER_KEY = "sk-other-9876543210"
PROVIDERS = {KEY: "espai", OTHER_KEY: "other"}
PROFILES = """
[profiles.espai]
quotas = [{ name = "daily", limit = 100000, window = "day" }]
[profiles.other]
protocol = "espai"
base_url = "http://127.0.0.1:9"
key_env = "OTHER_KEY"
errors = { refused = ["4000", "4003"] }
quotas = [{ name = "daily", limit = 100000, window = "day" }]
"""
#: What bad rows are answered with, and services that are down.
FAULTS = (
    "http:500",
    "http:400",
    "http:404",
    "error:500",
    "error:4000",
    "html",
    "cut",
    "empty",
)
DOWN = ("http:500", "http:503", "drop")
#: The calls of a run from which a service is down, and from which it is up again.
NEVER = 1_000_000
UP, DEAD = (NEVER, NEVER), (1, NEVER)
TROUBLED_RUNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request of a mixture."""

    name: str
    provider: str
    job: int
    model: str
    #: What it is answered with; empty: its answer.
    fault: str = ""
    #: Seconds until its answer begins.
    latency: float = 0.0
    text: str = ""
    is_invalid: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as the service received it."""

    row: Row
    was_down: bool


@dataclass(slots=True, kw_only=True)
class Mixture:
    """The requests, models, jobs and providers that a seed makes."""

    seed: int
    rows: list[Row]
    #: By provider and model: its fault.
    bad_models: dict[tuple[str, str], str]
    concurrency: int
    max_attempts: int
    #: By run and provider.
    troubles: list[dict[str, tuple[int, int]]]
    fault_when_down: str

    def rows_of(self, provider: str) -> list[Row]:
        return [row for row in self.rows if row.provider == provider]

    def fault(self, row: Row) -> str:
        return self.bad_models.get((row.provider, row.model), "") or row.fault

    def is_refused(self, row: Row) -> bool:
        """Tell whether its model is refused: it stays pending."""
        return self.bad_models.get((row.provider, row.model)) == "http:404"

    @property
    def providers(self) -> list[str]:
        return sorted({row.provider for row in self.rows})


def mixed(seed: int) -> Mixture:
    """Make the mixture of a seed."""
    chance = random.Random(seed)
    providers = chance.choice([["espai"], ["espai", "other"], ["espai", "other"]])
    models = chance.choice([[MODEL], [MODEL, "m2"], [MODEL, "m2", "m3"]])
    rows: list[Row] = []
    bad_models: dict[tuple[str, str], str] = {}
    for provider in providers:
        is_clean = chance.random() < 0.4
        share = 0.0 if is_clean else chance.choice([0.0, 0.1, 0.3, 0.8])
        for model in models[1:]:
            if not is_clean and chance.random() < 0.3:
                fault = chance.choice(["http:404", "http:500"])
                bad_models[provider, model] = fault
        for job in range(chance.randint(1, 2)):
            invalid = 0.0 if is_clean else chance.choice([0.0, 0.0, 0.3, 1.0])
            number = chance.randint(1, 18)
            begin = chance.randrange(number)
            stretch = range(begin, begin + (0 if is_clean else chance.choice([0, 12])))
            for place in range(number):
                is_bad = place in stretch or chance.random() < share
                is_invalid = chance.random() < invalid
                name = f"{provider}-{job}-{place}"
                text = f"[{MODEL}] 答：{name}"
                if invalid and not is_invalid:
                    text = json.dumps({"answer": text}, ensure_ascii=False)
                rows.append(
                    Row(
                        name=name,
                        provider=provider,
                        job=job,
                        model=chance.choice(models),
                        fault=chance.choice(FAULTS) if is_bad else "",
                        latency=chance.choice([0.0, 0.0, 5.0, 40.0]),
                        text=text,
                        is_invalid=is_invalid,
                    )
                )
    return Mixture(
        seed=seed,
        rows=rows,
        bad_models=bad_models,
        concurrency=chance.choice([1, 2, 3, 8]),
        max_attempts=chance.randint(1, 4),
        troubles=[
            {one: trouble(chance) for one in providers} for _ in range(TROUBLED_RUNS)
        ],
        fault_when_down=chance.choice(DOWN),
    )


def trouble(chance: random.Random) -> tuple[int, int]:
    at = chance.randint(2, 12)
    ways = [UP, DEAD, (1, chance.randint(2, 6)), (at, NEVER), (at, at + 2)]
    return chance.choices(ways, [4, 3, 1, 1, 1])[0]


class Mixed(Standin):
    """Both providers of a mixture; they are told apart by their keys."""

    mixture: Mixture
    log: list[Asked]
    #: By provider: when it is down, and its calls of the run.
    now: Mapping[str, tuple[int, int]]
    numbers: Counter[str]

    def play(self, mixture: Mixture) -> None:
        self.mixture, self.log = mixture, []
        self._rows = {row.name: row for row in mixture.rows}

    def begin(self, now: Mapping[str, tuple[int, int]]) -> None:
        self.now, self.numbers = now, Counter()

    def _receive(self, body: Any, key: object) -> tuple[str, str]:
        row = self._rows[body["message"][-1]["content"]]
        assert PROVIDERS[str(key)] == row.provider
        assert body["model"] == row.model
        self.numbers[row.provider] += 1
        dies, recovers = self.now[row.provider]
        is_down = dies <= self.numbers[row.provider] < recovers
        self.log.append(Asked(row, is_down))
        mixture = self.mixture
        self.always = mixture.fault_when_down if is_down else mixture.fault(row)
        self.latency = row.latency
        return super()._receive(body, key)

    def says(self, body: Mapping[str, Any]) -> str:
        return self._rows[body["message"][-1]["content"]].text
