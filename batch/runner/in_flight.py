"""The calls of a run that are in flight, each with its state, by request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from batch.core.model import Claim


class CallState(Enum):
    """The state of a claimed request, up to its outcome on disk."""

    #: A credit is reserved, and its call has not begun.
    RESERVED = auto()
    CALLING = auto()
    #: The answer is recorded, or about to be, and is held against the job's schema.
    CHECKING = auto()
    #: Between two attempts: the last one is accounted for, no credit is reserved.
    BACKOFF = auto()
    #: The outcome is in the tray, or in the transaction under way.
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Call:
    """A claimed request in the hands of its worker."""

    claim: Claim
    state: CallState = CallState.RESERVED
    #: None once the worker has finished.
    task: asyncio.Task[None] | None = None


class InFlight:
    """The claimed requests of a run whose outcomes are not on disk."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def add(self, claim: Claim, task: asyncio.Task[None]) -> Call:
        call = self._calls[claim.request_id] = Call(claim, task=task)
        return call

    def begin(self, request_id: int) -> None:
        """Record that the call is under way."""
        self._calls[request_id].state = CallState.CALLING

    def check(self, request_id: int) -> None:
        """Record that the answer is here, and is being checked."""
        self._calls[request_id].state = CallState.CHECKING

    def back_off(self, request_id: int) -> None:
        """Record that the attempt is on disk, and another is to follow."""
        self._calls[request_id].state = CallState.BACKOFF

    def renewed(self, request_id: int) -> None:
        """Record that a credit is reserved for the next attempt."""
        self._calls[request_id].state = CallState.RESERVED

    def end(self, request_id: int) -> None:
        """Record that the outcome waits for the next transaction."""
        self._calls[request_id].state = CallState.ENDED

    def remove(self, request_id: int) -> None:
        """Forget the call: its final outcome is on disk."""
        self._calls.pop(request_id, None)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The workers that have not finished."""
        return [call.task for call in self._calls.values() if call.task is not None]

    @property
    def has_workers(self) -> bool:
        return any(call.task is not None for call in self._calls.values())

    @property
    def claims(self) -> list[Claim]:
        return [call.claim for call in self._calls.values()]

    @property
    def models(self) -> set[str]:
        """The models of the workers that have not finished."""
        unfinished = (one for one in self._calls.values() if one.task is not None)
        return {call.claim.model for call in unfinished}

    @property
    def open(self) -> list[int]:
        """The requests that have no final outcome yet: each takes a slot."""
        return [
            request_id
            for request_id, call in self._calls.items()
            if call.state is not CallState.ENDED
        ]

    @property
    def calling(self) -> list[int]:
        """The requests whose calls are under way, or were when their workers broke."""
        return [
            request_id
            for request_id, call in self._calls.items()
            if call.state is CallState.CALLING
        ]

    @property
    def reserved(self) -> set[int]:
        """The requests whose credits are in use: reserved, or their outcomes unwritten.

        Between two attempts, once the last is on disk, there is none, nor where no
        worker is left to use it.
        """
        return {
            request_id
            for request_id, call in self._calls.items()
            if call.state is not CallState.BACKOFF
            and (call.state is not CallState.RESERVED or call.task is not None)
        }

    @property
    def under_way(self) -> int:
        """The number of calls whose outcomes may still come."""
        return sum(
            call.state in (CallState.CALLING, CallState.CHECKING)
            and call.task is not None
            for call in self._calls.values()
        )
