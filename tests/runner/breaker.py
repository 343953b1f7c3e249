"""The laws of the circuit breaker, held to every run of a mixture.

Progress, thrift and isolation, counted by the service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from mixtures import DEAD, OTHER_KEY, PROFILES, UP, Asked, Mixed, Mixture, Row, mixed
from world import World, a_world

from batch.core.expected import Expected
from batch.runner.values import Progress

#: Calls to a dead service: in its first run, and in the next ones.
ALL, AGAIN = 10, 3
MOST_RUNS = 60


@dataclass(slots=True)
class Account:
    """A provider's history over the runs, as the laws need it."""

    name: str
    mixture: Mixture
    log: list[Asked] = field(default_factory=list)
    #: Calls that the laws allow beside those for each row.
    allowed: int = 0
    dead_runs: int = 0
    #: By row, calls that failed for a service that was away for a part of a run; for
    #: the whole run, where the row had failed beside answers of its model before.
    hurt: Counter[str] = field(default_factory=Counter)
    #: Rows that failed before an answer of their model, or in a run that had one.
    beside: set[str] = field(default_factory=set)

    def see(
        self, calls: list[Asked], trouble: tuple[int, int], states: Mapping[str, str]
    ) -> None:
        """Hold one run to the laws."""
        one, place = self.mixture, (self.mixture.seed, self.name, trouble)
        down = [call for call in calls if call.was_down]
        if trouble == DEAD:
            assert len(calls) <= (AGAIN if self.dead_runs else ALL), place
        # Those in flight when it died may fail beside the row that ends the run.
        assert len(down) <= ALL + one.concurrency - 1, place
        self.dead_runs = self.dead_runs + 1 if trouble == DEAD and calls else 0
        asked = Counter(call.row.name for call in calls)
        assert max(asked.values(), default=0) <= one.max_attempts, place
        self._untried_come_first(calls)
        self._invalid_jobs_stop(calls)
        self.log += calls
        self.hurt.update(
            call.row.name
            for call in down
            if trouble != DEAD or call.row.name in self.beside
        )
        answered = {call.row.model for call in calls if self._has_answer(call)}
        self.beside |= {
            call.row.name
            for call in self.log
            if call.row.model in answered and not self._has_answer(call)
        }
        if trouble == UP and not any(
            one.fault(row) or row.is_invalid for row in one.rows_of(self.name)
        ):
            # Whatever becomes of the other provider.
            waiting = [row for row in self._good() if states[row.name] == "pending"]
            assert not waiting, place

    def allow(self, progress: Progress) -> None:
        """Add what the run's trips of the breaker may cost."""
        assert progress.ending is not None
        codes = [one.exit_code for one in progress.set_aside]
        # What was set aside may have the graver code.
        tripped = "run again once the service answers" in progress.ending.message
        codes.append(69 if tripped else progress.ending.exit_code)
        self.allowed += ALL * codes.count(69) + 2 * codes.count(77) + codes.count(78)

    def _untried_come_first(self, calls: list[Asked]) -> None:
        """Rows that were asked in earlier runs come behind those that never were."""
        tried = {call.row.name for call in self.log}
        firsts = list(dict.fromkeys(call.row for call in calls))
        for place, row in enumerate(firsts):
            if row.name not in tried:
                continue
            behind = [
                other.name
                for other in firsts[place + 1 :]
                if other.name not in tried
                and (other.job, other.model) == (row.job, row.model)
            ]
            # Those in flight together arrive in any order.
            assert len(behind) < self.mixture.concurrency, (self.mixture.seed, row)

    def _invalid_jobs_stop(self, calls: list[Asked]) -> None:
        """A job whose answers are all invalid stops with ten, then with three."""
        one = self.mixture
        for job in {row.job for row in one.rows_of(self.name)}:
            rows = [row for row in one.rows_of(self.name) if row.job == job]
            if not all(row.is_invalid for row in rows):
                continue
            before, now = (
                len({call.row.name for call in log if self._is_answer(call, job)})
                for log in (self.log, calls)
            )
            most = max(AGAIN, ALL - before) + one.concurrency - 1
            assert now <= most, (one.seed, self.name, job)

    def _has_answer(self, call: Asked) -> bool:
        return not (call.was_down or self.mixture.fault(call.row))

    def _is_answer(self, call: Asked, job: int) -> bool:
        return self._has_answer(call) and call.row.job == job

    def _good(self) -> list[Row]:
        """The rows that must be answered."""
        one = self.mixture
        return [
            row
            for row in one.rows_of(self.name)
            if not one.fault(row) and self.hurt[row.name] < one.max_attempts
        ]

    def waits_for(self, states: Mapping[str, str]) -> list[Row]:
        """The rows that must be answered, or fail, and have not yet."""
        rows = self.mixture.rows_of(self.name)
        pending = [row for row in rows if states[row.name] == "pending"]
        invalid = {
            job
            for job in {row.job for row in rows}
            if any(row.is_invalid for row in rows if row.job == job)
        }
        never = [
            row
            for row in pending
            if self.mixture.fault(row)
            and row.name in self.beside
            # The job may have been stopped.
            and row.job not in invalid
        ]
        good = [row for row in self._good() if states[row.name] != "completed"]
        return [*good, *never]

    def check_costs(self, states: Mapping[str, str]) -> None:
        """Hold all runs together to what they may cost."""
        one = self.mixture
        rows = one.rows_of(self.name)
        done = sum(states[row.name] == "completed" for row in rows)
        never = sum(
            states[row.name] != "completed" and not one.is_refused(row) for row in rows
        )
        up = [call for call in self.log if not call.was_down]
        most = done + one.max_attempts * never + self.allowed
        assert len(up) <= most, (one.seed, self.name, len(up), most)


def submit(world: World, mixture: Mixture) -> None:
    """Queue the jobs of a mixture."""
    for provider, job in sorted({(row.provider, row.job) for row in mixture.rows}):
        rows = [row for row in mixture.rows_of(provider) if row.job == job]
        world.queue(
            [
                {"custom_id": row.name, "prompt": row.name, "model": row.model}
                for row in rows
            ],
            name=f"{provider}-{job}",
            max_attempts=mixture.max_attempts,
            provider=provider,
            expected=Expected() if any(row.is_invalid for row in rows) else None,
        )


async def hold(home: Path, seed: int) -> None:
    """Repeat `run` until each row that can be answered is, and look at each run."""
    mixture = mixed(seed)
    environ = {"OTHER_KEY": OTHER_KEY}
    async with a_world(
        home,
        limit=None,
        config_toml=PROFILES,
        environ=environ,
        kind=Mixed,
        answer=lambda body: standin.says(body),
    ) as world:
        standin = world.standin
        assert isinstance(standin, Mixed)
        standin.play(mixture)
        world.answer_to = {row.name: row.text for row in mixture.rows}.__getitem__
        submit(world, mixture)
        accounts = [Account(name, mixture) for name in mixture.providers]
        for now in runs(mixture):
            standin.begin(now)
            if now == dict.fromkeys(now, UP):
                # What fails alone is given up only after a day.
                world.clock.time += timedelta(hours=1)
            before = len(standin.log)
            outcome = await world.run(concurrency=mixture.concurrency)
            states = dict(world.query("SELECT custom_id, state FROM requests"))
            for one in accounts:
                calls = [
                    call
                    for call in standin.log[before:]
                    if call.row.provider == one.name
                ]
                if one.name in outcome.progress:
                    one.allow(outcome.progress[one.name])
                one.see(calls, now[one.name], states)
            failed = {name for name, state in states.items() if state == "failed"}
            good = {row.name for one in accounts for row in one._good()}
            assert not failed & good, seed
            if now == dict.fromkeys(now, UP) and not any(
                one.waits_for(states) for one in accounts
            ):
                break
        world.check()
        for one in accounts:
            assert not one.waits_for(states), (seed, one.name)
            one.check_costs(states)


def runs(mixture: Mixture) -> Iterator[dict[str, tuple[int, int]]]:
    yield from mixture.troubles
    for _ in range(MOST_RUNS - len(mixture.troubles)):
        yield dict.fromkeys(mixture.providers, UP)
