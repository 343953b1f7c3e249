"""Queue and ledger under everything that can happen to them, in any order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from endpoint import Call, Endpoint
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scene import (
    CANCELLED,
    COMPLETED,
    FAILED,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    PENDING,
    RUNNING,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    idle,
    undone,
    unsent,
)

from batch.core.model import Claim, Job, RequestState, Settlement
from batch.core.windows import window_at
from batch.store import (
    closures,
    handing_in,
    kept,
    outcomes,
    queue,
    submitting,
    wishes,
)
from batch.store.engine import Database
from batch.store.handing_in import Fate
from batch.store.purse import Holder

#: With an answer that stands until there is a better one.
FOR_NOW = "answered for now"
OUTCOMES = {
    "answered": answered,
    "failed": failed,
    "given back": lambda one: failed(one, PENDING),
    "to be tried again": lambda one: failed(one, RUNNING),
    FOR_NOW: lambda one: failed(one, RUNNING),
    "not sent": unsent,
    "not to be sent": lambda one: unsent(one, FAILED),
}

some = st.integers(0, 99)
#: How much time passes before something happens, mostly none: seconds, or those from
#: the next reset.
passing = st.sampled_from(
    [("seconds", seconds) for seconds in [0] * 20 + [1, 59, 61, 1800]]
    + [("from the reset", seconds) for seconds in (-61, -30, 0, 30, 61)]
)


@dataclass(eq=False)
class Held:
    """A request in the hands of a runner, or of one that only thinks so."""

    claim: Claim
    runner: int
    holder: Holder
    call: Call | None

    @property
    def id(self) -> int:
        return self.claim.request_id


class Queue(RuleBasedStateMachine):
    """Two runners on one account; jobs with twins; a day, and a minute."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        connection = self.stack.enter_context(undone(self.database))
        self.scene = Scene(connection)
        self.now = MIDNIGHT - 10 * MINUTE
        self.held: list[Held] = []
        #: In the hands of runners that were taken for dead, and are not.
        self.lost: list[Held] = []
        #: Answers in files, each with the call that it came of.
        self.spooled: list[tuple[Held, kept.Answer]] = []
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.answers: dict[int, str] = {}
        #: Requests of jobs that were deleted.
        self.deleted: set[int] = set()

    @initialize(
        quotas=st.sampled_from([(daily(4),), (daily(40),), (daily(30), by_minute(6))]),
        attempts=st.integers(1, 3),
    )
    def begin(self, quotas, attempts) -> None:
        scene = self.scene
        self.endpoint = Endpoint(quotas)
        self.holders = [scene.runner(quotas=quotas) for _ in range(2)]
        # The 1st is asked for the 3rd and 4th too, the 5th for the 7th.
        twins = {2: 0, 3: 0, 6: 4}
        self.jobs = [
            scene.job(12, same_as=twins, max_attempts=attempts),
            scene.job(3, priority=1, max_attempts=attempts),
        ]
        # Something is always under way when the story begins.
        self.claim_for(0, 2)
        self.claim_for(1, 1)

    def stands(self, *states: RequestState) -> bool:
        """Whether any request is in one of these states."""
        return any(
            state in states for job in self.jobs for state in self.scene.states(job)
        )

    # Runners

    @precondition(lambda self: self.stands(PENDING))
    @rule(runner=st.integers(0, 1), later=passing)
    def claim_one(self, runner, later) -> None:
        self._pass(later)
        self.claim_for(runner, 1)

    @precondition(lambda self: self.stands(PENDING))
    @rule(runner=st.integers(0, 1), slots=st.integers(2, 5), later=passing)
    def claim_several(self, runner, slots, later) -> None:
        self._pass(later)
        self.claim_for(runner, slots)

    def claim_for(self, runner, slots) -> datetime | None:
        """Claim, and come back then if credits are wanted."""
        got = self.scene.claim(slots, self.now, holder=self.holders[runner])
        assert len(got.claims) <= slots
        for claim in got.claims:
            assert claim.request_id not in self.answers or self.asked_anew(
                claim.request_id
            )
            call = self._call(claim, runner)
            self.held.append(Held(claim, runner, self.holders[runner], call))
        if got.denied_until is not None:
            assert got.denied_until > self.now
            if not any(one.is_closed(self.now) for one in got.standings):
                self.endpoint.check_denial(self.scene, got, self.now)
        return got.denied_until

    @precondition(lambda self: any(one.call for one in self.held))
    @rule(which=some, outcome=st.sampled_from(sorted(OUTCOMES)), later=passing)
    def settle(self, which, outcome, later) -> None:
        self._pass(later)
        in_flight = [one for one in self.held if one.call]
        if in_flight:
            self._settle(in_flight[which % len(in_flight)], outcome)

    @precondition(lambda self: any(one.call for one in self.held))
    @rule(runner=st.integers(0, 1))
    def answer_all_at_once(self, runner) -> None:
        mine = [one for one in self.held if one.call and one.runner == runner]
        settlements = [self._answer(one.id) for one in mine]
        self.scene.settle(*settlements, now=self.now, holder=self.holders[runner])
        for one in mine:
            self._end(one)
            self.held.remove(one)

    @precondition(lambda self: self.held)
    @rule(which=some, again=st.booleans(), later=passing)
    def fail_and_try_again(self, which, again, later) -> None:
        one = self.held[which % len(self.held)]
        if one.call:
            self._settle(one, "to be tried again")
        self._pass(later)
        if one not in self.held:
            return
        if again:
            (renewed,) = queue.renew(
                self.scene.connection, one.holder, [one.claim], self.now
            )
            if renewed is not None:
                one.claim = renewed
                one.call = self._call(renewed, one.runner)
        else:
            self.scene.settle(idle(one.id), now=self.now, holder=one.holder)
            self.held.remove(one)

    @precondition(lambda self: self.held)
    @rule(which=some, hold=st.booleans(), later=passing)
    def crash(self, which, hold, later) -> None:
        runner = self.held[which % len(self.held)].runner
        self._pass(later)
        self.crash_of(runner, hold, alive=False)

    @precondition(lambda self: self.held)
    @rule(
        which=some,
        hold=st.booleans(),
        asked_again=st.booleans(),
        word=st.sampled_from([*sorted(OUTCOMES), "idle", "renew"]),
    )
    def be_taken_for_dead(self, which, hold, asked_again, word) -> None:
        one = self.held[which % len(self.held)]
        self.crash_of(one.runner, hold, alive=True)
        if asked_again:
            self.claim_for(1 - one.runner, 9)
        self.lost.remove(one)
        self._say_too_late(one, word)

    @precondition(lambda self: self.lost)
    @rule(which=some, word=st.sampled_from(sorted(OUTCOMES)), later=passing)
    def speak_too_late(self, which, word, later) -> None:
        one = self.lost.pop(which % len(self.lost))
        self._pass(later)
        self._say_too_late(one, word)

    @precondition(lambda self: any(one.call for one in self.held))
    @rule(which=some, hold=st.booleans(), later=passing)
    def die_with_an_answer_spooled(self, which, hold, later) -> None:
        self._pass(later)
        in_flight = [one for one in self.held if one.call]
        if not in_flight:
            return
        one = in_flight[which % len(in_flight)]
        text = f"answer {len(self.endpoint.calls)} to {one.id}, spooled"
        answer = replace(answered(one.id, text), entry_id=one.claim.entry_id)
        made = kept.keep(self.folder / "q.db", [answer], [one.claim], self.now)
        assert made is not None
        (line,) = kept.lines(made[0])
        found = kept.parsed(line)
        assert found is not None
        self.spooled.append((one, found))
        self.crash_of(one.runner, hold, alive=False)

    @precondition(lambda self: self.spooled)
    @rule(which=some, later=passing)
    def take_in_a_spooled_answer(self, which, later) -> None:
        self._pass(later)
        one, answer = self.spooled.pop(which % len(self.spooled))
        self._take_in(one, answer)

    def _take_in(self, one, answer) -> None:
        def holder_of(_: str, runner_id: int, account_id: int) -> Holder:
            assert (runner_id, account_id) == (
                one.holder.runner_id,
                one.holder.account_id,
            )
            return one.holder

        is_there = one.id not in self.deleted
        wanted = is_there and self._wants_an_answer(one.id)
        (fate,) = handing_in.take_in(
            self.scene.connection, [answer], holder_of, self.now
        )
        if not is_there:
            assert fate is Fate.DELETED
        elif wanted:
            assert fate is Fate.STORED
            self.answers[one.id] = answer["completion"]["text"]
            assert self.scene.state(one.id) is COMPLETED
        else:
            assert fate is Fate.SUPERSEDED

    @rule(later=passing)
    def let_time_pass(self, later) -> None:
        self._pass(later)

    def crash_of(self, runner, hold, alive) -> None:
        mine = [one for one in self.held if one.runner == runner]
        in_flight = [one for one in mine if one.call]
        # Those that were not answered by another meanwhile.
        in_doubt = {one.id for one in in_flight if self.scene.state(one.id) is RUNNING}
        orphans = self.scene.crash(self.holders[runner], hold=hold, now=self.now)
        assert {one.request_id for one in orphans} == in_doubt
        for one in in_flight:
            self._end(one)
        self.held = [one for one in self.held if one not in mine]
        if alive:
            self.lost += mine
        self.holders[runner] = self.scene.runner(quotas=self.endpoint.quotas)

    @precondition(lambda self: any(one.call for one in self.held))
    @rule(which=some)
    def say_that_nothing_is_left(self, which) -> None:
        in_flight = [one for one in self.held if one.call]
        self._settle(in_flight[which % len(in_flight)], "given back")
        closures.close(
            self.scene.connection,
            self.scene.account_id,
            self.endpoint.quotas,
            None,
            "4002",
            self.now,
        )

    # The user

    @precondition(lambda self: self.held or self.stands(FAILED, CANCELLED, COMPLETED))
    @rule(
        which=st.integers(0, 1),
        wish=st.sampled_from(
            ["cancel", "retry", "reopen", "retry some", "ask anew", "put back"]
        ),
    )
    def ask_for(self, which, wish) -> None:
        connection, job = self.scene.connection, self.jobs[which]
        match wish:
            case "cancel":
                wishes.cancel(connection, job.id)
            case "retry":
                wishes.retry(connection, job)
            case "reopen":
                wishes.retry(connection, job, cancelled=True)
            case "retry some":
                wishes.retry(connection, job, codes=["dns", "in_doubt"])
            case "ask anew":
                wishes.retry_answered(connection, job, finish_reasons=["stop"])
            case _:
                # As a run does that ends because everything failed.
                outcomes.put_back(connection, self.leaders(job))

    @rule(which=st.integers(0, 1))
    def delete(self, which) -> None:
        """The next job has ids that were nobody's, and gets nobody else's answers."""
        connection, job = self.scene.connection, self.jobs[which]
        if submitting.withdraw(connection, job.id):
            assert RUNNING in self.scene.states(job)
            return
        assert RUNNING not in self.scene.states(job)
        while not submitting.discard(connection, job.id, 5):
            pass
        gone = set(range(job.first_id, job.last_id + 1))
        self.deleted |= gone
        for request_id in gone & set(self.answers):
            del self.answers[request_id]
        new = self.jobs[which] = self.scene.job(3, max_attempts=job.max_attempts)
        assert not self.deleted & set(range(new.first_id, new.last_id + 1))
        for some in (self.held, self.lost):
            for one in [one for one in some if one.id in gone]:
                outcome = replace(answered(one.id), entry_id=one.claim.entry_id)
                settled = self.scene.settle(outcome, now=self.now, holder=one.holder)
                assert settled.ownerless == {one.claim.entry_id}
                if one.call:
                    self._end(one)
                some.remove(one)
        assert self.scene.states(new) == [PENDING] * 3

    def leaders(self, job: Job) -> list[int]:
        ids = range(job.first_id, job.last_id + 1)
        return [one for one in ids if self.scene.request(one).same_as is None]

    # What is true at all times

    @invariant()
    def the_books_agree(self) -> None:
        self.scene.check()

    @invariant()
    def no_window_sees_more_than_its_limit(self) -> None:
        self.endpoint.check_windows(self.scene, self.now)

    @invariant()
    def an_answer_stays_until_another_is_here_that_was_asked_for(self) -> None:
        for request_id, text in self.answers.items():
            if not self.asked_anew(request_id):
                assert self.scene.state(request_id) is COMPLETED
            assert self.scene.state(request_id) not in (FAILED, CANCELLED)
            result = self.scene.result(request_id)
            assert result is not None
            assert result.text == text

    def teardown(self) -> None:
        try:
            if hasattr(self, "jobs"):
                self._work_it_all_off()
        finally:
            self.stack.close()

    def _work_it_all_off(self) -> None:
        """Whatever happened: in the days that follow, nothing is left waiting."""
        for runner in (0, 1):
            self.crash_of(runner, hold=False, alive=False)
        for one, answer in self.spooled:
            self._take_in(one, answer)
        for _ in range(60):
            denied_until = self.claim_for(0, 9)
            if self.held:
                self.answer_all_at_once(0)
            elif denied_until is None:
                break
            else:
                self._go_on_to(denied_until)
        for job in self.jobs:
            states = self.scene.states(job)
            assert PENDING not in states
            assert RUNNING not in states
        self.the_books_agree()
        self.no_window_sees_more_than_its_limit()

    # How it is written down here

    def _call(self, claim: Claim, runner: int) -> Call:
        call = Call(claim.request_id, runner, self.now)
        self.endpoint.calls.append(call)
        return call

    def _settle(self, one: Held, outcome: str) -> None:
        before = self.scene.state(one.id)
        answer = outcome == "answered"
        settlement = self._settlement(one.id, outcome)
        self.scene.settle(settlement, now=self.now, holder=one.holder)
        self._end(one, unsent_=outcome.startswith("not"))
        after = self.scene.state(one.id)
        # A late answer may have come before.
        if answer and before is PENDING:
            assert after is COMPLETED
        elif before is RUNNING and after is not settlement.state:
            assert settlement.state is FAILED
            assert after is COMPLETED
            assert self.asked_anew(one.id)
        else:
            assert after is (settlement.state if before is RUNNING else before)
        if after is not RUNNING:
            self.held.remove(one)

    def _say_too_late(self, one: Held, word: str) -> None:
        """Only an answer is listened to, and only while one is wanted."""
        before = self.scene.state(one.id)
        expected = before
        match word:
            case "renew":
                assert queue.renew(
                    self.scene.connection, one.holder, [one.claim], self.now
                ) == [None]
            case "idle":
                self.scene.settle(idle(one.id), now=self.now, holder=one.holder)
            case "answered":
                wanted = self._wants_an_answer(one.id)
                settlement = self._answer(one.id)
                self.scene.settle(settlement, now=self.now, holder=one.holder)
                # Even where another's call is under way.
                if wanted:
                    expected = COMPLETED
            case _:
                wanted = word == FOR_NOW and self._wants_an_answer(one.id)
                settlement = self._settlement(one.id, word)
                self.scene.settle(settlement, now=self.now, holder=one.holder)
                # Who is asked no more has it for good.
                if wanted and before in (FAILED, CANCELLED):
                    expected = COMPLETED
        assert self.scene.state(one.id) is expected

    def _settlement(self, request_id: int, outcome: str) -> Settlement:
        settlement = OUTCOMES[outcome](request_id)
        if outcome in ("answered", FOR_NOW):
            answer = self._answer(request_id)
            settlement = replace(settlement, completion=answer.completion)
        return settlement

    def _answer(self, request_id: int) -> Settlement:
        """A new text; it is the answer, if the request still wants one."""
        text = f"answer {len(self.endpoint.calls)} to {request_id}"
        if self._wants_an_answer(request_id):
            self.answers[request_id] = text
        return answered(request_id, text)

    def asked_anew(self, request_id: int) -> bool:
        """Whether it has an answer, and another was asked for."""
        result = self.scene.result(request_id)
        return result is not None and result.provisional

    def _wants_an_answer(self, request_id: int) -> bool:
        """Paid answers are taken, but for those to what was answered already."""
        return (
            self.asked_anew(request_id) or self.scene.state(request_id) is not COMPLETED
        )

    def _end(self, one: Held, *, unsent_: bool = False) -> None:
        assert one.call is not None
        one.call.ended_at, one.call.unsent = self.now, unsent_
        one.call = None

    def _pass(self, later) -> None:
        kind, seconds = later
        moment = self.now
        if kind == "from the reset":
            moment = window_at(self.endpoint.quotas[0], self.now + GUARD).resets_at
        self._go_on_to(max(self.now, moment + timedelta(seconds=seconds)))

    def _go_on_to(self, moment) -> None:
        # No call lasts longer than an hour.
        for one in list(self.held):
            if one.call and moment - one.call.started_at >= HOUR:
                self._settle(one, "given back")
        self.now = moment


@pytest.mark.long
def test_whatever_happens_in_whatever_order(arena: Database):
    class OnTheArena(Queue):
        database = arena

    run_state_machine_as_test(
        OnTheArena,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            # A story is short enough to be read; to shorten it takes minutes.
            phases=[Phase.generate],
        ),
    )
