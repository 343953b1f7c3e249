"""The transactions of a runner: exchanges, take-overs, settlements apart, the last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from batch.core.model import (
    Claim,
    EntryState,
    RequestState,
    Settlement,
)
from batch.core.statements import Statement
from batch.runner import isolation
from batch.runner.isolation import SPOOL_ERRORS, Isolated, Spool, reason_of
from batch.runner.queries import RunQueries
from batch.runner.sharedtime import SharedTime
from batch.runner.tray import Batch
from batch.runner.values import Options
from batch.store import (
    closures,
    evidence,
    history,
    kept,
    ledger,
    outcomes,
    queue,
    room,
    runners,
    stated,
)
from batch.store.engine import Database, Of
from batch.store.outcomes import Reopened, Settled
from batch.store.purse import Holder
from batch.store.queue import Claimed
from batch.store.runners import Orphan
from batch.store.selection import ALL, Selection
from batch.timekeeper import Timekeeper
from batch.worker import UNSENT, USE_WITHIN

#: Seconds between the signs of life that a runner writes down.
HEARTBEAT = 10.0


@dataclass(frozen=True, slots=True)
class Traded:
    """What an exchange brought."""

    renewed: Sequence[Claim | None]
    claimed: Claimed | None
    settled: Settled
    #: When it gave a sign of life, if it did.
    heard_at: datetime | None = None

    @property
    def calls(self) -> int:
        """Calls that it granted."""
        claims = self.claimed.claims if self.claimed else ()
        return sum(one is not None for one in self.renewed) + len(claims)


@dataclass(frozen=True, slots=True)
class Left:
    """The result of a runner's last transaction."""

    orphans: Sequence[Orphan]
    settled: Settled
    #: Requests that had ended in the run and wait again.
    reopened: Reopened


class Trade:
    """Outcomes in, claims out, on behalf of one runner."""

    def __init__(
        self,
        database: Database,
        holder: Holder,
        queries: RunQueries,
        options: Options,
        clock: Timekeeper,
        dead_runners: Callable[
            [Connection, Sequence[datetime]], Mapping[int, Callable[[], None]]
        ],
    ) -> None:
        self._database = database
        self.holder = holder
        self._options = options
        self._clock = clock
        self._dead_runners = dead_runners
        self._beat_at = float("-inf")
        #: The last two heartbeats that were committed; the first came with the row.
        self._heard: tuple[datetime, ...] = (clock.now(),)
        self._answers = room.Answers()
        self.queries = queries
        self._spool = Spool(database.path, clock)
        self._time = SharedTime(clock)

    @property
    def use_within(self) -> timedelta:
        """How long after its reservation a call may still begin."""
        lease = self._database.lease
        # Its runner may be taken for dead when the lease is over.
        return USE_WITHIN if lease is None else lease / 2

    async def exchange(
        self,
        batch: Batch,
        slots: int,
        known: Collection[int] | None = None,
        *,
        working: Collection[int] = (),
        selection: Selection = ALL,
    ) -> Traded:
        """Record what gathered, and claim for the free slots, in one transaction.

        `known`, where the reply to an earlier one was lost: the requests whose credits
        are in use; whatever else this runner holds goes back. `working`: those whose
        outcomes are still to come. `selection`: what to claim. DiskFullError where
        answers may not find room.
        """
        self._answers.see(batch.settlements)
        if slots:
            calls = len(batch.outcomes) + len(working) + slots
            room.check(self._database.path, self._answers.wanted(calls))
        exchange = Of(self.holder.account_id, self._exchange)
        traded = await self._database.run(
            exchange, batch, slots, known, list(working), selection
        )
        if traded.heard_at is not None:
            self._beat_at = self._clock.monotonic()
            self._heard = (*self._heard[-1:], traded.heard_at)
        self._time.apply()
        return traded

    async def take_over(self) -> list[Orphan] | None:
        """Put back what runners held that died; None: no runner has died."""
        if self._database.lease is not None:
            if len(self._heard) < 2:
                # A runner judges others only after two heartbeats of its own, see
                # leases.lapsed.
                beat = Of(self.holder.account_id, self._beat)
                self._heard += (await self._database.run(beat),)
            # Few ever die: the turn of the whole database is taken only for those.
            if not await self._database.ask(self._dead_runners, self._heard):
                return None
        orphans, dead = await self._database.run(self._take_over)
        self._time.apply()
        for forget in dead:
            forget()
        return orphans if dead else None

    async def leave(
        self,
        batch: Batch,
        failed: Mapping[str, Sequence[int]],
        calling: Collection[int],
        *,
        refused: Collection[str | None] = (),
    ) -> Left:
        """Record the last outcomes, and let go of everything else.

        `failed`: the failures that may be the service's, by model; they are taken back
        where the ledger does not show that they are the requests'. `refused`: models
        whose requests were refused alike, None: all; theirs are taken back where, and
        only where, requests without a failure wait.
        `calling`: the requests whose calls were given up; no other was made.
        """
        return await self._database.run(self._leave, batch, failed, calling, refused)

    async def settle_apart(
        self, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> Isolated:
        """Record outcomes of which one cannot be written: it costs only itself.

        What ended it early is in the result, beside what was recorded until then.
        """

        async def write(some: Sequence[Settlement]) -> Settled:
            return await self._database.run(Of(account_id, self._settle), some)

        account_id = self.holder.account_id
        return await isolation.settle(write, self._spool, settlements, claims)

    def keep(
        self, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> str | None:
        """Keep the answers in hand beside the database; where they are, in words.

        None where there is none in hand.
        """
        answers = [one.entry_id for one in settlements if one.completion is not None]
        try:
            path = self._spool.put(settlements, claims)
        except SPOOL_ERRORS as error:
            lost = sum(not self._spool.has(one) for one in answers)
            those = (
                "1 answer in hand is" if lost == 1 else f"{lost} answers in hand are"
            )
            return f"{those} lost: {reason_of(error)}"
        if path is None:
            return None
        where = kept.folder(self._database.path)
        moved = "" if path.parent == where else f" once it is moved to {where}"
        return (
            f"answers in hand: {len(answers)}, kept in {path}, which the next run with "
            f"this database records{moved}"
        )

    def beat_is_due(self) -> bool:
        return self._clock.monotonic() - self._beat_at >= HEARTBEAT

    def _exchange(
        self,
        connection: Connection,
        batch: Batch,
        slots: int,
        known: Collection[int] | None,
        working: Sequence[int],
        selection: Selection,
    ) -> Traded:
        now = self._time.read(connection, runner_id=self.holder.runner_id)
        holder = self.holder
        revived = self._revive(connection, working)
        due = revived or self.beat_is_due()
        heard_at = self._beat(connection) if due else None
        settled = self._record(connection, batch, now)
        if known is not None:
            self._let_go(connection, known, now)
        renewed = queue.renew(connection, holder, batch.claims, now)
        if not slots:
            return Traded(renewed, None, settled, heard_at)
        ready = self.queries.jobs(connection)
        claimed = queue.claim(connection, holder, ready, slots, now, selection)
        return Traded(renewed, claimed, settled, heard_at)

    def _beat(self, connection: Connection) -> datetime:
        now = self._clock.now()
        runners.beat(connection, self.holder.runner_id, now)
        return now

    def _revive(self, connection: Connection, working: Sequence[int]) -> bool:
        """Go on with what is still its own, where it was taken for dead meanwhile.

        Whether it was.
        """
        runner_id = self.holder.runner_id
        if self._database.lease is None or not runners.has_ended(connection, runner_id):
            return False
        runners.hold_again(connection, runner_id, working)
        return True

    def _record(self, connection: Connection, batch: Batch, now: datetime) -> Settled:
        """What came of calls, and what the endpoint said of its count."""
        holder = self.holder
        settled = outcomes.settle(connection, holder, batch.settlements, now)
        for refusal in batch.refusals:
            verdict = refusal.verdict
            closures.close(
                connection,
                holder.account_id,
                [quota.of(refusal.model) for quota in holder.quotas],
                verdict.resets_at,
                refusal.message,
                now,
                named=verdict.named,
                tokens=verdict.tokens,
                pause=verdict.pause,
                because=verdict.because,
            )
        self._take_over_statements(connection, batch.statements, now)
        for pause in batch.pauses:
            closures.pause(
                connection, holder.account_id, pause.until, pause.reason, now
            )
        for decision, text in batch.decisions:
            evidence.note_news(connection, holder.account_id, decision, text, now)
        return settled

    def _take_over_statements(
        self, connection: Connection, statements: Sequence[Statement], now: datetime
    ) -> None:
        holder = self.holder
        for said in statements:
            model = said.scope.removeprefix("model:")
            quotas = [quota.of(model) for quota in holder.quotas]
            stated.take_over(connection, holder.account_id, quotas, said, now)

    def _take_over(
        self, connection: Connection
    ) -> tuple[list[Orphan], Collection[Callable[[], None]]]:
        now = self._time.read(connection)
        orphans: list[Orphan] = []
        dead = self._dead_runners(connection, self._heard)
        for runner_id in dead:
            orphans += self._reap(connection, runner_id, now)
        return orphans, dead.values()

    def _leave(
        self,
        connection: Connection,
        batch: Batch,
        failed: Mapping[str, Sequence[int]],
        calling: Collection[int],
        refused: Collection[str | None],
    ) -> Left:
        # Nothing was heard of the calls that were given up.
        runner_id = None if calling else self.holder.runner_id
        now = self._time.read(connection, leaving=True, runner_id=runner_id)
        settled = self._record(connection, batch, now)
        self._let_go(connection, calling, now)
        forgiven = self._forgiven(connection, failed, refused, now)
        reopened = outcomes.put_back(connection, forgiven)
        orphans = self._reap(connection, self.holder.runner_id, now)
        return Left(orphans, settled, reopened)

    def _forgiven(
        self,
        connection: Connection,
        failed: Mapping[str, Sequence[int]],
        refused: Collection[str | None],
        now: datetime,
    ) -> list[int]:
        """Select the failures to take back, see `leave`."""
        jobs = self.queries.jobs(connection) if refused else []
        forgiven: list[int] = []
        for model, ids in failed.items():
            if model in refused:
                # What they failed with before may have been the same.
                if history.unfailed_wait(connection, jobs, model):
                    forgiven += ids
            elif None not in refused or history.unfailed_wait(connection, jobs):
                forgiven += self.queries.unexplained(connection, {model: ids}, now)
        return forgiven

    def _settle(
        self, connection: Connection, settlements: Sequence[Settlement]
    ) -> Settled:
        now = self._time.read(connection)
        return outcomes.settle(connection, self.holder, settlements, now)

    def _let_go(
        self, connection: Connection, known: Collection[int], now: datetime
    ) -> None:
        """Give back what was claimed by a transaction whose reply was lost."""
        holder = self.holder
        held = ledger.unsettled(connection, holder.account_id, holder.runner_id)
        uncalled = [
            _uncalled(one.id, one.request_id)
            for one in held
            if one.request_id not in known
        ]
        outcomes.settle(connection, holder, uncalled, now)

    def _reap(
        self, connection: Connection, runner_id: int, now: datetime
    ) -> list[Orphan]:
        return runners.reap(connection, runner_id, hold=self._options.hold, now=now)


def _uncalled(entry_id: int, request_id: int) -> Settlement:
    """Its credit was reserved, and its call never made."""
    return Settlement(
        entry_id=entry_id,
        request_id=request_id,
        state=RequestState.PENDING,
        credit=EntryState.RELEASED,
        failure=UNSENT,
    )
