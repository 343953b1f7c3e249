"""One real call, for doctor: queued, paid for and counted like any other."""

from __future__ import annotations

import io

from batch.core.plain import plain
from batch.errors import QuotabatchError
from batch.runner.values import Options
from batch.service import ordering, showing, submission, upkeep, work
from batch.service.context import Service
from batch.service.findings import Finding, State

PROMPT = "Say: ready."


async def call(service: Service) -> Finding:
    """Ask the provider one question; what came of it. It costs a credit."""
    try:
        return await _call(service)
    except QuotabatchError as error:
        return Finding("call", State.WRONG, str(error))


async def _call(service: Service) -> Finding:
    profile = service.settings.profile()
    models = [one.id for one in profile.models]
    model = service.settings["model"] or (models[0] if models else None)
    said = {"prompt": PROMPT, "name": "doctor", "model": model, "max_attempts": 1}
    order = ordering.make_order(service, ["-"], said)
    row = io.BytesIO(b'{"custom_id": "ready"}\n')
    receipt = submission.submit(service, order, stdin=row)
    job = service.job(str(receipt.job_id))
    notes: list[str] = []
    try:
        outcome = await work.run(
            service,
            [job],
            Options(max_calls=1, max_pause=0.0),
            keep=service.settings["keep"],
            notify=notes.append,
        )
        report = showing.request_report(service, str(job.id), "ready")
    finally:
        # The ledger keeps what was spent.
        upkeep.delete(service, str(job.id))
    request = report.request
    if request.text is not None:
        answer = plain(request.text, 60)
        return Finding("call", State.OK, f"{order.model} answers: {answer}")
    ending = outcome.endings[profile.name]
    said_by_run = ending.message or "no credit is left for it"
    why = report.attempts[-1].message if report.attempts else said_by_run
    text = f"{order.model}: {plain(why, 200)}"
    return Finding("call", State.WRONG, text, "`quotabatch quota` shows the credits")
