"""One request, with everything that happened to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch.core.model import Job
from batch.errors import UnknownJobError
from batch.service.context import Service
from batch.store import reports
from batch.store.asking import messages_of
from batch.store.schema import AnyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReport:
    """One request with everything that happened to it."""

    job: Job
    request: AnyRow
    messages: Sequence[Mapping[str, Any]]
    attempts: Sequence[AnyRow]
    #: The custom_id of the identical request that is asked in its place.
    same_as: str | None


def request_report(service: Service, wanted: str, custom_id: str) -> RequestReport:
    """One request of a job, by its custom_id."""
    job = service.job(wanted)
    custom_id = _as_typed(custom_id)
    with service.database.reading() as connection:
        found = reports.request(connection, job, custom_id)
        if found is None:
            raise UnknownJobError(f"job {job.id} has no request {custom_id!r}")
        asked = found.same_as or found.id
        return RequestReport(
            job=job,
            request=found,
            messages=messages_of(found).said,
            attempts=reports.attempts(connection, asked),
            same_as=reports.custom_id(connection, asked) if found.same_as else None,
        )


def _as_typed(text: str) -> str:
    """Return what was typed in UTF-8, whatever the locale takes it for."""
    try:
        return os.fsencode(text).decode("utf-8", "replace")
    except UnicodeEncodeError:
        # It came from a program that knows no such names.
        return text.encode("utf-8", "replace").decode()
