"""A worker on trial: a script of replies, and a desk that notes what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from clockwork import ManualClock

from batch.core.model import Claim, Completion, Failure, Reply, Settlement
from batch.core.verdict import Rules, Verdict, judge
from batch.worker import USE_WITHIN, NoMoreAttemptsError, Worker

GOOD = Completion(text="好", finish_reason="stop")
CUT = Failure(code="cut", message="cut off", sent=True, partial="half")


REFUSED = Failure(code="connect", message="refused", sent=False)


RULES = Rules(exhausted=frozenset({"4002"}))


class Script:
    """An endpoint that gives these replies, one a call; an error in it is raised."""

    def __init__(
        self, replies: Iterable[Reply | BaseException], log: list[Any]
    ) -> None:
        self._replies = iter(replies)
        self._log = log
        self.claims: list[Claim] = []

    async def call(self, claim: Claim, on_text: Callable[[str], None] | None) -> Reply:
        self._log.append("call")
        self.claims.append(claim)
        if on_text is not None:
            on_text("好")
        reply = next(self._replies)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def close(self) -> None:
        raise AssertionError("a worker closes nothing")


class Desk:
    """A runner's side that notes what is asked of it, in its order."""

    def __init__(self, clock: ManualClock, log: list[Any]) -> None:
        self._clock = clock
        self.log = log
        self.begun: list[Claim] = []
        self.settled: list[Settlement] = []
        #: Answers that were yet to be checked.
        self.held: list[Settlement] = []
        self.pauses: list[float] = []
        #: Credits left for further attempts.
        self.credits = 100
        #: Whether nothing is to be retried in its place.
        self.gives_back = False
        #: The pause that finds the run ending.
        self.ends_in_pause = 0

    def begin(self, claim: Claim) -> None:
        self.begun.append(claim)

    def judge(self, claim: Claim, reply: Reply) -> Verdict | None:
        self.log.append("judge")
        if isinstance(reply, Completion):
            return None
        return judge(reply, RULES, self._clock.now())

    def hands_back(self, claim: Claim, verdict: Verdict) -> bool:
        return self.gives_back

    def hold(self, settlement: Settlement) -> None:
        self.held.append(settlement)

    def settle(self, settlement: Settlement) -> None:
        self.log.append(("settle", str(settlement.state), str(settlement.credit)))
        self.settled.append(settlement)

    async def write(self, settlement: Settlement) -> None:
        self.log.append(("write", str(settlement.state), str(settlement.credit)))
        self.settled.append(settlement)

    async def renew(self, claim: Claim) -> Claim:
        self.log.append("renew")
        if not self.credits:
            raise NoMoreAttemptsError
        self.credits -= 1
        return replace(
            claim, entry_id=claim.entry_id + 1, reserved_at=self._clock.now()
        )

    async def pause(self, seconds: float) -> None:
        self.log.append("pause")
        self.pauses.append(seconds)
        await self._clock.sleep(seconds)
        if len(self.pauses) == self.ends_in_pause:
            raise NoMoreAttemptsError


class Trial:
    """A worker, its endpoint and its desk."""

    def __init__(
        self,
        *replies: Reply | BaseException,
        random: float = 0.5,
        use_within: timedelta = USE_WITHIN,
    ) -> None:
        self.clock = ManualClock()
        self.log: list[Any] = []
        self.endpoint = Script(replies, self.log)
        self.desk = Desk(self.clock, self.log)
        self.texts: list[tuple[str, str]] = []
        self.worker = Worker(
            self.endpoint,
            self.desk,
            self.clock,
            lambda: random,
            lambda claim, text: self.texts.append((claim.custom_id, text)),
            use_within=use_within,
        )

    async def work(self, **fields: Any) -> Settlement:
        """Work on a claim; the last of its settlements."""
        claim: dict[str, Any] = {
            "entry_id": 70,
            "request_id": 7,
            "job_id": 1,
            "custom_id": "seven",
            "messages": [{"role": "user", "content": "?"}],
            "model": "m",
            "params": {},
            "failures": 0,
            "max_attempts": 3,
            "reserved_at": self.clock.now(),
        }
        await self.worker.work(Claim(**{**claim, **fields}))
        return self.desk.settled[-1]


def settled(state: str, credit: str) -> tuple[str, str, str]:
    return ("settle", state, credit)


def written(state: str, credit: str) -> tuple[str, str, str]:
    return ("write", state, credit)


AGAIN = [written("running", "spent"), "pause", "renew", "call", "judge"]
