"""Appending: more rows for a job that exists, all of them or none.

They are submitted beside the job, where nobody sees them, and counted towards it in one
transaction; so a kill before leaves the job as it was. Then they are moved to it, in
small transactions, by this command or by the next one that writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, BinaryIO

from sqlalchemy import Connection

from batch.core.model import Job
from batch.errors import UsageError
from batch.service import submission
from batch.service.context import Service
from batch.service.intake import Drafted, Intake
from batch.service.order import Order, Receipt
from batch.service.ordering import as_format
from batch.service.pieces import pieces
from batch.store import appending, jobs
from batch.store.names import Names
from batch.store.twins import Twins


def append_order(
    service: Service, wanted: str, sources: Sequence[str], flags: dict[str, Any]
) -> tuple[Job, Order]:
    """The job, and the order that its own template and settings amount to."""
    job = service.job(wanted)
    if job.template is None:
        raise UsageError(
            f"job {job.id} was submitted by an earlier version, which did not keep its "
            "template: submit the rows as a job of their own"
        )
    if any(source.endswith(".toml") for source in sources):
        raise UsageError(
            f"a job file makes a job of its own; name the datasets for job {job.id}"
        )
    first = 0
    if flags.pop("continue_numbers"):
        first = service.database.read(appending.last_number, job)
    return job, Order(
        sources=tuple(sources),
        template=job.template,
        provider=job.provider,
        model=job.model,
        params=dict(job.params),
        name=job.name,
        max_attempts=job.max_attempts,
        daily_cap=job.daily_cap,
        due_at=job.due_at,
        expected=job.expected,
        first_number=first,
        format=as_format(flags.pop("format")),
        **flags,
    )


def append(
    service: Service,
    job: Job,
    order: Order,
    *,
    stdin: BinaryIO | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Receipt:
    """Queue the rows that the job does not have yet; all others must be as they were.

    DatasetError names every row that is bad, or that has a name of the job's with
    other content, and then none is queued.
    """
    if job.grows:
        # Another command has not moved all yet of what it appended.
        for submitted, mark in service.database.look(jobs.unfinished):
            if mark == f"{jobs.INTO}{job.id}":
                service.bring_in(submitted)
    receipt = submission.receipt_of(order)
    with closing(Names()) as names, closing(Twins()) as twins:
        profile = service.settings.profile(order.provider)
        intake = Intake(
            order,
            profile,
            receipt,
            names,
            twins,
            remembers_names=True,
            # The job's other answers come from there.
            host=job.host,
        )
        if order.dedupe:
            _remember(service, job, twins)

        def sift(drafted: Sequence[Drafted]) -> list[Drafted]:
            ids = [one.draft.custom_id for one in drafted]
            known = service.database.read(appending.known, job, ids)
            return intake.without(drafted, known, f"job {job.id}")

        def publish(connection: Connection, submitted: int) -> None:
            intake.publish_in(connection, submitted, job)

        rows = pieces(order, receipt, stdin, on_bytes)
        if order.dry_run:
            submission.rehearse(service, intake, rows, sift)
        else:
            submitted = submission.queue(service, order, intake, rows, sift, publish)
            service.bring_in(submitted)
            receipt.job_id = job.id
    submission.foresee(service, order, receipt, job.id)
    return receipt


def _remember(service: Service, job: Job, twins: Twins) -> None:
    """What the job asks already, so that it is not asked twice."""
    end = job.first_id - 1
    while True:
        end, digests = service.database.read(appending.asked_already, job, end)
        if not end:
            return
        twins.note(digests.items())
