"""A process that works for a director: it claims and settles when it is told to.

    python process.py PATH

Orders come as lines of JSON, and so do the answers; time is whatever an order says.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from batch.core.model import (
    Claim,
    Completion,
    EntryState,
    Failure,
    RequestState,
    Settlement,
)
from batch.core.price import Price, actual
from batch.core.quota import EPOCH, Per, Quota, Unit, WindowKind
from batch.store import accounts, jobs, outcomes, queue, runners
from batch.store.engine import Database
from batch.store.purse import Holder

Order = dict[str, Any]
Answer = dict[str, Any]


def as_moment(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def as_milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def as_quota(rule: dict[str, Any]) -> Quota:
    zone = rule.get("zone", "UTC")
    return Quota(
        name=rule["name"],
        limit=rule["limit"],
        kind=WindowKind(rule["kind"]),
        zone=UTC if zone == "UTC" else ZoneInfo(zone),
        reset=time.fromisoformat(rule.get("reset", "00:00")),
        period=timedelta(milliseconds=rule.get("period", 86_400_000)),
        guard=timedelta(milliseconds=rule["guard"]),
        unit=Unit(rule.get("unit", "credits")),
        per=Per(rule.get("per", "account")),
    )


class Process:
    """What a run has in its memory: who it is, and the claims in its hands."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.claims: dict[int, Claim] = {}
        self.jobs: list[int] = []

    def obey(self, order: Order) -> Answer:
        """All that is ordered, in one transaction."""
        answer: Answer = {}
        with self.database.transaction() as connection:
            for one in order.get("orders", [order]):
                do = getattr(self, f"_{one['do']}")
                answer |= do(connection, one, as_moment(one["now"]))
        return answer

    def _begin(self, connection: Connection, order: Order, now: datetime) -> Answer:
        account_id = accounts.account(connection, "simulated", order["account"])
        runner_id = runners.begin(
            connection, account_id, host="here", pid=1, lock="a lock", now=now
        )
        self.holder = Holder(
            runner_id=runner_id,
            account_id=account_id,
            quotas=tuple(map(as_quota, order["rules"])),
            keep=order["keep"],
            price=Price(**order["price"]),
        )
        self.jobs = order["jobs"]
        self.claims = {}
        return {"runner": runner_id, "account": account_id}

    def _claim(self, connection: Connection, order: Order, now: datetime) -> Answer:
        ready = jobs.listed(connection, ids=self.jobs, active=True)
        got = queue.claim(connection, self.holder, ready, order["slots"], now)
        until = got.denied_until
        return {
            "claimed": [self._take(one) for one in got.claims],
            "denied_until": None if until is None else as_milliseconds(until),
        }

    def _renew(self, connection: Connection, order: Order, now: datetime) -> Answer:
        held = [self.claims[one] for one in order["ids"]]
        renewed = queue.renew(connection, self.holder, held, now)
        return {"renewed": [self._take(one) if one else None for one in renewed]}

    def _settle(self, connection: Connection, order: Order, now: datetime) -> Answer:
        settled = [self._as_settlement(one) for one in order["calls"]]
        outcomes.settle(connection, self.holder, settled, now)
        return {}

    def _reap(self, connection: Connection, order: Order, now: datetime) -> Answer:
        orphans = runners.reap(connection, order["runner"], hold=False, now=now)
        return {"orphans": [one.request_id for one in orphans]}

    def _take(self, one: Claim) -> Answer:
        self.claims[one.request_id] = one
        return {"id": one.request_id, "model": one.model, "cost": one.cost.credits}

    def _as_settlement(self, call: dict[str, Any]) -> Settlement:
        request_id = call["id"]
        claim = self.claims[request_id]
        match call["outcome"]:
            case "answered":
                text = "a" * call["size"]
                flat = self.holder.is_flat
                price = self.holder.price
                cost = actual(price, claim.messages, text, None)
                return Settlement(
                    entry_id=claim.entry_id,
                    request_id=request_id,
                    state=RequestState.COMPLETED,
                    credit=EntryState.SPENT,
                    completion=Completion(text=text or ".", finish_reason="stop"),
                    cost=None if flat else cost,
                    size=None if flat else (len(text), cost.tokens),
                )
            case "failed":
                again = RequestState.RUNNING if call["again"] else RequestState.PENDING
                return Settlement(
                    entry_id=claim.entry_id,
                    request_id=request_id,
                    state=again,
                    credit=EntryState.SPENT,
                    failure=Failure(
                        code="cut", message="", sent=True, status=call["status"]
                    ),
                    verdict="retry",
                )
            case "unsent":
                again = RequestState.RUNNING if call["again"] else RequestState.PENDING
                return Settlement(
                    entry_id=claim.entry_id,
                    request_id=request_id,
                    state=again,
                    credit=EntryState.RELEASED,
                    failure=Failure(code="dns", message="", sent=False),
                    verdict="retry",
                )
            case "given back":
                return Settlement(
                    entry_id=claim.entry_id,
                    request_id=request_id,
                    state=RequestState.PENDING,
                    credit=EntryState.RELEASED,
                )
        raise AssertionError(call)


def main(path: Path) -> None:
    with closing(Database.open(path)) as database:
        process = Process(database)
        for line in sys.stdin:
            order = json.loads(line)
            if order.get("do") == "crash":
                os._exit(1)
            sys.stdout.write(json.dumps(process.obey(order)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
