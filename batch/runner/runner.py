"""One run on one account: claim, dispatch, record, until there is nothing left to do.

Natural batches: while one transaction commits, finished calls and free slots gather,
and the next transaction takes all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from batch.core.model import (
    UNCHECKED,
    Claim,
    Completion,
    EntryState,
    Failure,
    Reply,
    RequestState,
    Settlement,
)
from batch.core.quota import FOREVER
from batch.core.statements import Statement, in_refusal
from batch.core.verdict import Rules, Scope, Verdict, VerdictKind, judge
from batch.errors import QuotabatchError, StoreAwayError, StoreError
from batch.providers.base import Endpoint
from batch.runner import endings, waiting
from batch.runner.budget import CallBudget
from batch.runner.evidence import Evidence
from batch.runner.exclusions import Exclusions, Validity
from batch.runner.in_flight import Call, InFlight
from batch.runner.isolation import Isolated
from batch.runner.outage import RECONNECT, Outage
from batch.runner.outlook import Outlook
from batch.runner.pace import DEAD_FROM_THE_START, Pace
from batch.runner.refusals import Refusals
from batch.runner.sharedtime import SAME
from batch.runner.trade import HEARTBEAT, Trade
from batch.runner.tray import Batch, Pause, Refusal, Tray
from batch.runner.values import Ending, Options, Progress
from batch.store.outcomes import Settled
from batch.store.queue import Claimed
from batch.store.selection import Selection
from batch.timekeeper import Timekeeper
from batch.worker import NoMoreAttemptsError, Worker

#: A sleep is taken in naps, so that the wall clock is looked at again.
NAP = 30.0
#: Outcomes and claims of one transaction, at most. Those that it takes wait for it: of
#: a thousand calls, halves would take turns at waiting, and the loop with them.
AT_ONCE = 200
#: After so many outcomes that cannot be written, with none between them that can, no
#: other call is made.
MOST_UNWRITABLE = 3
#: Seconds between looks at what other runners still hold.
LOOK_AGAIN = 2.0
#: After how many looks a run says that it waits for another.
TELL_AFTER = 30


class Runner:
    """The owner of the workers of one run on one account."""

    def __init__(
        self,
        *,
        trade: Trade,
        provider: str,
        rules: Rules,
        endpoint: Endpoint,
        clock: Timekeeper,
        random: Callable[[], float],
        options: Options,
        notify: Callable[[str], None],
        show_text: bool = False,
        budget: CallBudget | None = None,
        key_origin: str = "",
    ) -> None:
        self.progress = Progress(provider, job_ids=set())
        self._trade = trade
        self._queries = trade.queries
        self._provider = provider
        self._key_origin = key_origin
        self._rules = rules
        self._clock = clock
        self._options = options
        self._notify = notify
        #: The machine's start, by the clock that pauses go by.
        self._start = clock.start
        self._began_at = clock.now()
        self._pace = Pace(options, random)
        self._evidence = Evidence()
        self._exclusions = Exclusions(self.progress, notify)
        self._validity = Validity(options, trade.queries, self._exclusions)
        self._refusals = Refusals(trade.queries)
        self._tray = Tray()
        #: Of the whole run, which may have other accounts.
        self._budget = budget or CallBudget(options.max_calls)
        self._share = self._budget.share(self._tray.wake.set)
        on_text = self._on_text if show_text else None
        price = None if trade.holder.is_flat else trade.holder.price
        self._worker = Worker(
            endpoint, self, clock, random, on_text, price, trade.use_within
        )
        self._outage = Outage(clock, options, notify)
        self._outlook = Outlook(
            endpoint, trade.holder.quotas, self._tray, clock, provider, notify
        )
        self._in_flight = InFlight()
        #: True if it is known how the account's last calls went.
        self._has_looked_back = False
        #: True if the run ended of itself, and no call of it was answered.
        self._was_unanswered = False
        #: How often it has looked again whether another run is done.
        self._looked_again = 0
        self._ending: Ending | None = None
        self._ends = asyncio.Event()
        #: True if the last claim found that nothing waits.
        self._found_nothing = False
        #: Outcomes that could not be written since the last that could.
        self._unwritable = 0
        #: What a worker should never have raised.
        self._crash: BaseException | None = None

    async def run(self) -> Ending:
        """Work until the queue is dry, the credits are gone, or something stops it."""
        try:
            await waiting.unless(self._ends, self._outlook.begin())
            ending = await self._work()
            ending = endings.combined(ending, self.progress.set_aside)
            self.progress.ending = ending
            return ending
        except Exception as error:
            await self._finish_calls(error)
            raise
        finally:
            await self._leave()

    def drain(self, ending: Ending) -> None:
        """Claim nothing more, and end so once the calls in flight are done."""
        if self._ending is None:
            self._ending = self.progress.ending = ending
        self._ends.set()
        self._tray.wake.set()

    def abort(self) -> None:
        """End at once: calls in flight are given up, their credits count as spent."""
        for task in self._in_flight.tasks:
            task.cancel()

    # What the workers ask of their desk.

    def begin(self, claim: Claim) -> None:
        self._in_flight.begin(claim.request_id)

    def judge(self, claim: Claim, reply: Reply) -> Verdict | None:
        self.progress.streamed(claim.custom_id)
        self._tray.state(self._outlook.heard(claim, reply))
        if isinstance(reply, Completion):
            self._pace.succeeded(reserved_at=claim.reserved_at)
            self._evidence.answer(claim)
            self._refusals.answer(claim)
            self._validity.see(claim, reply)
            self.progress.row = self._pace.row
            return None
        now = self._clock.now()
        verdict = judge(reply, self._rules, now)
        verdict = self._refusals.weigh(claim, reply, verdict)
        at, sent = claim.reserved_at, reply.sent
        counted = self._pace.failed(verdict, now, reserved_at=at, sent=sent)
        # A model's refusal tells nothing of the others' pace.
        counted |= verdict.is_unconfirmed
        row = self._evidence.failure(claim, reply, verdict) if counted else 0
        self.progress.row, self.progress.failure = self._pace.row, reply
        if verdict.named is not None:
            self._tray.state(self._limits_in(claim, reply, verdict))
        if verdict.kind is VerdictKind.EXHAUSTED:
            self._refuse(claim, reply, verdict)
        elif verdict.kind is VerdictKind.STOP and verdict.scope is Scope.MODEL:
            self._refuse_model(claim.model, reply, verdict)
        elif verdict.kind is VerdictKind.STOP:
            self.drain(self._stopped(reply, verdict))
        elif self._pace.is_hopeless(reply):
            answered = bool(self._evidence.answered)
            self.drain(
                endings.hopeless(
                    self._provider, self._pace.row, reply, is_answered=answered
                )
            )
        elif reply.sent and row >= self._options.max_failures:
            self._evidence.out_of_service.add(claim.model)
            text = endings.model_fails(self._provider, claim.model, row, reply)
            self._exclusions.add_model(claim.model, 69, text)
        return verdict

    def _refuse_model(self, model: str, reply: Failure, verdict: Verdict) -> None:
        text = endings.model_refused(self._provider, model, reply, verdict)
        self._exclusions.add_model(model, 78, text)

    def _stopped(self, reply: Failure, verdict: Verdict) -> Ending:
        return endings.stopped(self._provider, reply, verdict, self._key_origin)

    def hands_back(self, claim: Claim, verdict: Verdict) -> bool:
        others_first = verdict.is_busy or verdict.is_unconfirmed
        return others_first or self._goes_back(claim)

    def _goes_back(self, claim: Claim) -> bool:
        """Tell whether another request is to be asked first, or it is not at all."""
        return self._pace.is_probing or self._exclusions.leaves_out(claim)

    def _refuse(self, claim: Claim, reply: Failure, verdict: Verdict) -> None:
        """Believe the endpoint that a quota is used up."""
        if self._trade.holder.quotas:
            self._tray.refuse(Refusal(claim.model, reply.message, verdict))
        else:
            self.drain(endings.closed(self._provider, reply))

    def _limits_in(
        self, claim: Claim, refusal: Failure, verdict: Verdict
    ) -> list[Statement]:
        quotas = [quota.of(claim.model) for quota in self._trade.holder.quotas]
        at, named = claim.reserved_at, verdict.named
        return in_refusal(quotas, named, refusal.message, at, refusal.limits)

    def settle(self, settlement: Settlement) -> None:
        self._in_flight.end(settlement.request_id)
        self._tray.settle(settlement)

    def hold(self, settlement: Settlement) -> None:
        self._in_flight.check(settlement.request_id)
        self._tray.hold(settlement)

    async def write(self, settlement: Settlement) -> None:
        await self._tray.write(settlement)
        # Before, its credit is in use: an outage must not give it back.
        self._in_flight.back_off(settlement.request_id)

    async def renew(self, claim: Claim) -> Claim:
        if self._ending is not None or self._goes_back(claim):
            raise NoMoreAttemptsError
        renewed = await self._tray.renew(claim)
        if renewed is None:
            raise NoMoreAttemptsError
        return renewed

    async def pause(self, seconds: float) -> None:
        await waiting.sleep(self._clock, seconds, until=self._ends)
        if self._ending is not None:
            raise NoMoreAttemptsError

    # The loop.

    async def _work(self) -> Ending:
        while True:
            try:
                ending = await self._turn()
            except StoreAwayError as error:
                self._outage.meet(error, self._in_flight.under_way)
                if self._ending is not None:
                    raise
                await waiting.sleep(self._clock, RECONNECT, until=self._ends)
                continue
            if ending is not None:
                return ending

    async def _turn(self) -> Ending | None:
        """One exchange, and the wait for the next; how it ends, if it does."""
        if not self._has_looked_back:
            past = await self._queries.look_back(DEAD_FROM_THE_START)
            if past.failed:
                self._pace.lose_patience()
            self._refusals.look_back(has_answered=past.has_answered, models=past.models)
            self._has_looked_back = True
        if self._in_flight.has_workers:
            await self._tray.gather(AT_ONCE)
        await self._exchange()
        self._follow_clock()
        if self._crash is not None:
            raise self._crash
        if self._in_flight.has_workers:
            await self._nap(self._until_next_chance())
            return None
        return await self._rest()

    async def _exchange(self) -> None:
        """One transaction: what came of calls goes in, new claims come out."""
        if self._trade.beat_is_due():
            # Also in mid-run: what a dead one holds may be what others wait for.
            await self._take_over()
        # Before the claim, which would take more of what is to stop.
        await self._validity.judge()
        await self._confirm_refusals()
        batch = self._tray.take(renewals=self._budget.left, outcomes=AT_ONCE)
        if batch.settlements or batch.statements:
            # What came back, or was never spent, may do for another call.
            self._pace.denied_until = None
        renewals, used = len(batch.renewals), 0
        reserved = self._share.reserve(renewals + min(AT_ONCE, self._slots()))
        slots = reserved - renewals
        self._found_nothing = False
        news = self._clock.has_news
        if not (batch or slots or news or self._trade.beat_is_due()):
            return
        try:
            traded = await self._trade.exchange(
                batch,
                slots,
                self._known(batch),
                working=self._in_flight.open,
                selection=self._selection(),
            )
            used = traded.calls
        except BaseException as error:
            # Answers in hand are tried once more on the way out.
            self._tray.put_back(batch)
            ours = not isinstance(error, QuotabatchError)
            if ours and isinstance(error, Exception) and batch.outcomes:
                await self._isolate(error)
                return
            raise
        finally:
            self._share.settle(reserved, used)
        self._outage.end()
        self._take_note(batch.settlements, traded.settled)
        if traded.settled.stored:
            self._unwritable = 0
        renewed = [claim.request_id for claim in traded.renewed if claim is not None]
        self.progress.calls += len(renewed)
        for request_id in renewed:
            self._in_flight.renewed(request_id)
        batch.answer(traded.renewed)
        if traded.claimed is not None:
            self._dispatch(traded.claimed)
        # What follows may raise: nothing that was granted is left without its worker.
        await self._validity.judge()
        await self._outlook.look(refused=bool(batch.refusals))

    async def _confirm_refusals(self) -> None:
        """Stop, or set models aside, where requests were refused alike."""
        if self._ending is not None:
            return
        for model, reply, verdict in await self._refusals.confirm():
            if model is None:
                self.drain(self._stopped(reply, verdict))
            else:
                self._evidence.out_of_service.add(model)
                self._refuse_model(model, reply, verdict)

    async def _isolate(self, error: Exception) -> None:
        """Record what gathered piece by piece, so that what can be written is.

        The error is raised where it was no outcome's, where an answer was lost, or
        where there is no end of it.
        """
        batch = self._tray.take(renewals=0)
        try:
            claims = self._in_flight.claims
            done = await self._trade.settle_apart(batch.settlements, claims)
        except BaseException:
            self._tray.put_back(batch)
            raise
        recorded, left = batch.split(done.has)
        recorded.answer([])
        # Their part of the transaction may be what failed: once more, by themselves.
        self._tray.put_back(left)
        self._note_isolated(done, error)
        if done.error is not None:
            raise done.error
        self._unwritable += done.unwritable
        if not done.unwritable or done.lost or self._unwritable >= MOST_UNWRITABLE:
            raise error

    def _take_note(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        """Count what was recorded, and tell what had no owner."""
        self._tell_dropped(len(settled.ownerless))
        for settlement in settlements:
            self._count(settlement, settled)
        self.progress.in_flight = len(self._in_flight.open)

    def _dispatch(self, claimed: Claimed) -> None:
        self._pace.denied_until = claimed.denied_until
        self._found_nothing = not claimed.claims and claimed.denied_until is None
        progress = self.progress
        loop = asyncio.get_running_loop()
        progress.standings = claimed.standings
        progress.calls += len(claimed.claims)
        if len(claimed.claims) == AT_ONCE:
            # There may be more for the slots that are left.
            self._tray.wake.set()
        for claim in claimed.claims:
            self._exclusions.see(claim)
            if progress.job_ids is not None:
                progress.job_ids.add(claim.job_id)
            task = loop.create_task(self._worker.work(claim))
            call = self._in_flight.add(claim, task)
            task.add_done_callback(partial(self._finished, call))
        progress.in_flight = len(self._in_flight.open)

    def _known(self, batch: Batch) -> set[int] | None:
        """After a loss of the database: the requests whose credits are in use."""
        if not self._outage.lasts:
            return None
        # Once this batch is recorded, its requests hold only what a lost reply granted.
        recorded = {one.request_id for one in batch.settlements}
        return self._in_flight.reserved - recorded

    def _finished(self, call: Call, task: asyncio.Task[None]) -> None:
        call.task = None
        self._tray.wake.set()
        if not task.cancelled():
            # Each is asked for: asyncio would print what nobody has looked at, and a
            # key may stand in it.
            error = task.exception()
            self._crash = self._crash or error

    def _count(self, settlement: Settlement, settled: Settled) -> None:
        """Count what the database took, which may be less than was sent."""
        progress = self.progress
        if settlement.state is not RequestState.RUNNING:
            self._in_flight.remove(settlement.request_id)
        self._validity.settle(settlement.request_id)
        taken = settlement.entry_id in settled.stored
        if settlement.state is RequestState.COMPLETED and taken:
            progress.answer(self._clock.monotonic())
            done = settlement.completion
            if done is not None and done.valid is False and done.invalid != UNCHECKED:
                progress.invalid += 1
        elif settlement.entry_id in settled.fallen_back:
            progress.answer(self._clock.monotonic())
            progress.invalid += settled.fallen_back[settlement.entry_id]
        elif settlement.state is RequestState.FAILED:
            progress.failed += taken
        if settlement.failure and settlement.credit is EntryState.RELEASED:
            progress.calls -= 1
            self._budget.give_back(1)

    def _selection(self) -> Selection:
        """Select what to claim, as the replies so far tell."""
        evidence, aside = self._evidence, self._exclusions
        answered = frozenset(evidence.answered)
        # The first call of each model goes alone.
        untold = self._in_flight.models - answered
        return Selection(
            models_aside=frozenset(aside.models | untold),
            jobs_aside=frozenset(aside.jobs),
            proven=answered,
            failing_models=frozenset(evidence.failing_models),
            failing_jobs=evidence.failing_jobs,
        )

    def _slots(self) -> int:
        if self._ending is not None:
            return 0
        return self._pace.slots(len(self._in_flight.open), self._clock.now())

    def _until_next_chance(self) -> float:
        """Seconds until something may be claimed that may not now."""
        now = self._clock.now()
        chance = self._pace.next_chance(now)
        seconds = (chance - now).total_seconds() if chance else HEARTBEAT
        return min(seconds, HEARTBEAT)

    async def _rest(self) -> Ending | None:
        """Nothing is in flight: end, or sleep until there is something to do."""
        if self._tray:
            return None
        if self._ending is not None:
            return self._ending
        if self._budget.left == 0:
            if self._budget.is_spent:
                self._was_unanswered = not self._evidence.answered
                return Ending(exit_code=75, message="Stopped at --max-calls")
            # Another account's transaction may give some back.
            await self._nap(HEARTBEAT)
            return None
        now = self._clock.now()
        chance = self._pace.next_chance(now)
        if chance is None:
            if not self._found_nothing:
                # What stood in the way has passed: ask once more.
                return None
            # A runner that died beside this one may leave work behind.
            if await self._take_over():
                return None
            if not await self._queries.others_hold():
                return await self._conclude()
            # Elsewhere: either it is done there, or it falls to us.
            self._looked_again += 1
            if self._looked_again == TELL_AFTER:
                self._notify(endings.ELSEWHERE)
            await self._nap(LOOK_AGAIN)
            return None
        if self._pace.denied_until == chance:
            pause = (chance - now).total_seconds()
            waits = self._options.wait and chance < FOREVER
            if pause > self._options.max_pause and not waits:
                self._was_unanswered = not self._evidence.answered
                return Ending(exit_code=75, resets_at=chance)
            # What the reset brings is taken on trust by one call first.
            self._pace.restart()
        elif self._pace.held_until == chance and not self._options.wait:
            pause = (chance - now).total_seconds()
            # The moment that is added to a stated wait is ours.
            if pause - 1.0 > self._options.max_pause:
                self._was_unanswered = not self._evidence.answered
                failure = self.progress.failure
                reason = failure.message if failure else ""
                self._tray.pause(Pause(chance, reason))
                text = endings.asked_to_wait(self._provider, pause)
                return Ending(exit_code=75, message=text, resets_at=chance)
        await self._sleep_until(chance)
        return None

    async def _conclude(self) -> Ending:
        """End where nothing is left to claim: all is done, or the service is away.

        It is where it answered nothing, and replied with nothing but errors: a request
        that used up its attempts so is not given up.
        """
        failure = self.progress.failure
        if self._evidence.has_replied:
            return Ending(exit_code=0)
        unanswered = self._evidence.unexplained(is_open_end=True)
        for model in self._refusals.confirmed:
            # It was set aside: the service is there, and told why.
            unanswered.pop(model or "", None)
        if failure is None or not unanswered or self._evidence.answered:
            return Ending(exit_code=0)
        if not await self._queries.may_be_service(unanswered):
            return Ending(exit_code=0)
        if await self._queries.has_answered(self._began_at):
            return Ending(exit_code=0)
        self._was_unanswered = True
        return endings.hopeless(self._provider, self._pace.row, failure)

    async def _sleep_until(self, moment: datetime) -> None:
        self.progress.sleeping_until = moment
        while self._ending is None and (now := self._clock.now()) < moment:
            if self._budget.is_spent:
                # By other accounts: nothing is waited for any more.
                break
            await self._nap(min(NAP, (moment - now).total_seconds()))
            await self._exchange()
            if self._follow_clock():
                # The moment was another clock's.
                break
        self.progress.sleeping_until = None

    def _follow_clock(self) -> bool:
        """Whether another clock is believed than when this was asked last."""
        start, before = self._clock.start, self._start
        if start is None or before is None or abs(by := start - before) < SAME:
            return False
        self._start = start
        self._pace.move(by)
        return True

    async def _nap(self, seconds: float) -> None:
        await waiting.sleep(self._clock, seconds, until=self._tray.wake)
        self._tray.wake.clear()

    def _on_text(self, claim: Claim, text: str) -> None:
        self.progress.stream(claim.custom_id, text)

    # Beginning and end.

    async def _take_over(self) -> bool:
        """Take over from runners that died; tell whether there were any."""
        orphans = await self._trade.take_over()
        if orphans:
            hold = self._options.hold
            self._notify(endings.in_doubt("An earlier run", orphans, hold=hold))
        return orphans is not None

    async def _finish_calls(self, error: Exception) -> None:
        """Something broke on our side: calls in flight are paid for, so wait for them.

        A second signal ends this too.
        """
        self.drain(Ending(exit_code=1))
        if calls := self._in_flight.under_way:
            self._notify(endings.broken(error, calls))
        while self._in_flight.under_way:
            # The database may be well, or well again.
            with contextlib.suppress(Exception):
                await self._exchange()
            if self._in_flight.under_way:
                await self._nap(HEARTBEAT)

    async def _leave(self) -> None:
        """Nothing stays with this runner, whatever ended it."""
        claims = self._in_flight.claims
        self.abort()
        if tasks := self._in_flight.tasks:
            await asyncio.wait(tasks)
        # They may have failed only because everything did.
        is_open_end = self._ending is not None or self._was_unanswered
        failed = self._evidence.unexplained(is_open_end=is_open_end)
        # Requests that were refused alike count where no other is left to ask: else
        # each run would ask them anew, and none would ever fail.
        refused = self._refusals.confirmed
        batch = self._tray.take()
        calling = self._in_flight.calling
        tries = self._outage.last_tries
        while True:
            try:
                left = await self._trade.leave(batch, failed, calling, refused=refused)
                break
            except StoreError as error:
                tries -= 1
                if tries == 0 or not isinstance(error, StoreAwayError):
                    where = self._trade.keep(batch.settlements, claims)
                    raise type(error)(f"{error}; {where}" if where else error) from None
            except Exception as error:
                done = await self._trade.settle_apart(batch.settlements, claims)
                _, batch = batch.split(done.has)
                self._note_isolated(done, error)
                if where := self._trade.keep(batch.settlements, claims):
                    self._notify(f"{where}.")
                if done.error is not None:
                    raise error from None
                batch = Batch([], [], [], [])
                try:
                    left = await self._trade.leave(
                        batch, failed, calling, refused=refused
                    )
                    break
                except Exception:
                    raise error from None
            await self._clock.sleep(RECONNECT)
        self._take_note(batch.settlements, left.settled)
        self.progress.failed -= left.reopened.failed
        self.progress.completed -= left.reopened.fallen_back
        self.progress.invalid -= left.reopened.invalid
        if left.orphans:
            hold = self._options.hold
            self._notify(endings.in_doubt("This run", left.orphans, hold=hold))

    def _note_isolated(self, done: Isolated, error: Exception) -> None:
        self._take_note(done.recorded, done.settled)
        if done.unwritable:
            self._notify(
                endings.unwritable(
                    done.unwritable, error, done.kept_in, done.lost, done.lost_because
                )
            )

    def _tell_dropped(self, outcomes: int) -> None:
        if outcomes:
            self._notify(endings.dropped(outcomes))
