"""The runner's dealings with the database: one transaction an exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from batch.clock import Clock
from batch.core.model import Claim
from batch.runner.tray import Batch
from batch.runner.values import Options
from batch.store import jobs, ledger, outcomes, queue, runners
from batch.store.engine import Database
from batch.store.queue import Claimed, Holder
from batch.store.runners import Orphan

#: Seconds between the signs of life that a runner writes down.
HEARTBEAT = 10.0


@dataclass(frozen=True, slots=True)
class Traded:
    """What an exchange brought."""

    renewed: Sequence[Claim | None]
    claimed: Claimed | None


class Trade:
    """Outcomes in, claims out, on behalf of one runner."""

    def __init__(
        self,
        database: Database,
        holder: Holder,
        provider: str,
        options: Options,
        clock: Clock,
        dead_runners: Callable[[Connection], Sequence[int]],
    ) -> None:
        self._database = database
        self._holder = holder
        self._provider = provider
        self._options = options
        self._clock = clock
        self._dead_runners = dead_runners
        self._beat_at = float("-inf")

    async def exchange(self, batch: Batch, slots: int) -> Traded:
        """Record what gathered, and claim for the free slots, in one transaction."""
        return await self._database.run(self._exchange, batch, slots)

    async def take_over(self) -> list[Orphan]:
        """Put back what runners held that died."""
        return await self._database.run(self._take_over)

    async def leave(self, batch: Batch, given_up: Sequence[int]) -> list[Orphan]:
        """Record the last outcomes, and let go of everything else."""
        return await self._database.run(self._leave, batch, given_up)

    def beat_is_due(self) -> bool:
        return self._clock.monotonic() - self._beat_at >= HEARTBEAT

    def _exchange(self, connection: Connection, batch: Batch, slots: int) -> Traded:
        # The time is read here, past any wait for the database's lock.
        now = self._clock.now()
        holder = self._holder
        if self.beat_is_due():
            self._beat_at = self._clock.monotonic()
            runners.beat(connection, holder.runner_id, now)
        outcomes.settle(connection, holder, batch.settlements, now)
        for failure, verdict in batch.closures:
            ledger.close(
                connection,
                holder.account_id,
                holder.quotas,
                verdict.resets_at,
                failure.message,
                now,
            )
        granted = queue.renew(connection, holder, batch.claims, now)
        renewed = [
            replace(claim, reserved_at=now) if grant else None
            for claim, grant in zip(batch.claims, granted, strict=True)
        ]
        if not slots:
            return Traded(renewed, None)
        ready = jobs.listed(
            connection,
            ids=self._options.job_ids,
            provider=self._provider,
            active=True,
        )
        return Traded(renewed, queue.claim(connection, holder, ready, slots, now))

    def _take_over(self, connection: Connection) -> list[Orphan]:
        orphans: list[Orphan] = []
        for runner_id in self._dead_runners(connection):
            orphans += self._reap(connection, runner_id)
        return orphans

    def _leave(
        self, connection: Connection, batch: Batch, given_up: Sequence[int]
    ) -> list[Orphan]:
        now = self._clock.now()
        outcomes.settle(connection, self._holder, batch.settlements, now)
        outcomes.put_back(connection, given_up)
        return self._reap(connection, self._holder.runner_id)

    def _reap(self, connection: Connection, runner_id: int) -> list[Orphan]:
        return runners.reap(
            connection, runner_id, hold=self._options.hold, now=self._clock.now()
        )
