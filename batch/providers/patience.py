"""Until when something must come, for every call of an endpoint, by one timer.

A timer a call would be set and cancelled a call; nearly none of them is ever needed.
"""

from __future__ import annotations

import asyncio

from aiohttp.client_proto import ResponseHandler

from batch.providers.wire import Incoming

#: A time that never comes.
FOREVER = float("inf")


class Watch:
    """Looks, when it may be too late for one of the calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Patience] = set()
        #: When it looks next.
        self.looks_at = FOREVER
        self._handle: asyncio.TimerHandle | None = None

    def add(self, patience: Patience) -> None:
        self._waiting.add(patience)
        if patience.until < self.looks_at:
            self.look_at(patience.until)

    def remove(self, patience: Patience) -> None:
        self._waiting.discard(patience)

    def look_at(self, moment: float) -> None:
        """Look then, and not when it was meant to."""
        self.close()
        if moment < FOREVER:
            self.looks_at = moment
            self._handle = self._loop.call_at(moment, self._look)

    def close(self) -> None:
        """Look no more."""
        self.looks_at = FOREVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        now = self._loop.time()
        for patience in [one for one in self._waiting if one.until <= now]:
            self._waiting.remove(patience)
            patience.lose()
        # Those that were moved on are looked at when they have to be.
        self.look_at(min((one.until for one in self._waiting), default=FOREVER))


class Patience:
    """Until when something must come; moving that costs next to nothing."""

    __slots__ = ("_incoming", "_protocol", "_watch", "until")

    def __init__(self, watch: Watch, protocol: ResponseHandler, until: float) -> None:
        self._watch = watch
        self._protocol = protocol
        self._incoming: Incoming | None = None
        self.until = until
        watch.add(self)

    def move(self, until: float) -> None:
        """From now on it must come until then."""
        self.until = until
        if until < self._watch.looks_at:
            self._watch.look_at(until)

    def read(self, incoming: Incoming) -> None:
        """The head is here: what is waited for now is the body."""
        self._incoming = incoming

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._watch.remove(self)

    def lose(self) -> None:
        """It is too late: whoever waits is told."""
        if self._incoming is None:
            self._protocol.set_exception(TimeoutError())
        else:
            self._incoming.give_up(TimeoutError())
