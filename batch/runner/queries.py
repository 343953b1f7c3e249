"""The questions that a run asks its database; none of them writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from batch.clock import Clock
from batch.core.model import Failure, Job
from batch.runner.values import Options
from batch.store import history, jobs, leases, spending, states
from batch.store.engine import Database
from batch.store.purse import Holder


class EarlierRuns(NamedTuple):
    """The outcomes of an account's calls before a run."""

    #: True if the newest calls all failed.
    failed: bool
    #: True if any call was ever answered.
    has_answered: bool
    #: The models that answered lately.
    models: set[str]


class RunQueries:
    """The queries of one runner, each in a transaction of its own."""

    def __init__(
        self,
        database: Database,
        holder: Holder,
        provider: str,
        options: Options,
        clock: Clock,
    ) -> None:
        self._database = database
        self._holder = holder
        self._provider = provider
        self._options = options
        self._clock = clock

    async def look_back(self, number: int) -> EarlierRuns:
        """Look at the account's newest calls; `number`: of failures in a row."""
        account_id = self._holder.account_id

        def look(connection: Connection) -> EarlierRuns:
            failure = spending.failing(connection, account_id, number)
            newest = history.newest_answer(connection, account_id)
            models = history.answering_models(connection, account_id)
            return EarlierRuns(failure is not None, newest is not None, models)

        return await self._database.ask(look)

    async def has_answered(self, since: datetime) -> bool:
        """Tell whether any runner's call was answered since then."""
        account_id = self._holder.account_id
        return await self._database.ask(history.has_answered, account_id, since)

    async def refused_alone(
        self, request_ids: Collection[int], failure: Failure, model: str | None
    ) -> set[int]:
        """Select the requests refused so before, while others were answered since.

        `model`: by that model; None: by any.
        """
        account_id, ask = self._holder.account_id, self._database.ask
        return await ask(history.refused_alone, account_id, request_ids, failure, model)

    async def invalid_only(self, job_id: int, most: int) -> tuple[str, int | None]:
        """The job's name, and its invalid answers up to so many; None: any is valid."""

        def look(connection: Connection) -> tuple[str, int | None]:
            found = jobs.listed(connection, ids=[job_id])
            if not found:
                # It was deleted meanwhile: no answer of it is left to judge.
                return "", None
            return found[0].name, states.invalid_only(connection, found[0], most)

        return await self._database.ask(look)

    async def others_hold(self) -> bool:
        """Tell whether another runner has requests of ours in flight, and may die."""
        runner_id, job_ids = self._holder.runner_id, self._options.job_ids
        return await self._database.ask(
            leases.others_hold, runner_id, self._provider, job_ids
        )

    async def may_be_service(self, failed: Mapping[str, Sequence[int]]) -> bool:
        """Tell whether any of these failures, by model, may be the service's."""

        def look(connection: Connection) -> bool:
            return bool(self.unexplained(connection, failed, self._clock.now()))

        return await self._database.ask(look)

    # For transactions that are under way.

    def jobs(self, connection: Connection) -> list[Job]:
        """The jobs that this runner works on."""
        found = jobs.listed(
            connection,
            ids=self._options.job_ids,
            provider=self._provider,
            active=True,
        )
        host = self._options.host
        if host is None:
            return found
        return [job for job in found if job.host in (None, host)]

    def unexplained(
        self,
        connection: Connection,
        failed: Mapping[str, Sequence[int]],
        now: datetime,
    ) -> list[int]:
        """Leave out the requests that failed before while others were answered."""
        holder = self._holder
        found: list[int] = []
        for model, ids in failed.items():
            most = self._options.max_failures
            past = history.Past(holder.account_id, model, holder.runner_id, most, now)
            known = history.known_to_fail(connection, past, ids)
            found += [one for one in ids if one not in known]
        return found
