"""What a user does to a job: `retry`, `cancel`, `pause`, `resume`, `delete`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, JobName, opened, params

if TYPE_CHECKING:
    from batch.service.upkeep import Retried


def retry(
    job: JobName,
    error: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Only those that failed with it; repeat."),
    ] = None,
    finish_reason: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REASON",
            help="Those that were answered so, as with length, instead; repeat.",
        ),
    ] = None,
    invalid: Annotated[
        bool,
        typer.Option(
            "--invalid",
            help="Those whose answer is not what the job expects, instead.",
        ),
    ] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Those that were cancelled, instead.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Ask this model from now on.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Ask with this from now on; repeat."),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="Paid attempts at one request."),
    ] = None,
    db: Db = None,
) -> None:
    """Put failed requests back into the queue; answers stay.

    Those of --finish-reason and --invalid stay until the next ones are there.
    """
    with opened(db=db) as service:
        from batch.service import unchecked, upkeep

        # What a run left unchecked may be valid: it is not paid for again.
        unchecked.check(service, console.note)
        asked_with = params(param or [])
        done = upkeep.retry(
            service,
            job,
            codes=error or [],
            finish_reasons=finish_reason or [],
            invalid=invalid,
            cancelled=cancelled,
            model=model,
            params=asked_with,
            max_attempts=max_attempts,
        )
        found = done.job
        others = [f"{name}={_as_given(value)}" for name, value in asked_with.items()]
        if max_attempts is not None:
            others.append(f"at most {words.number(max_attempts, 'attempt')}")
        is_changed = model is not None or bool(others)
        if done.number or error or finish_reason or invalid or not is_changed:
            verb = "waits" if done.number == 1 else "wait"
            console.note(
                f"Job {found.id} ({found.name}): "
                f"{words.number(done.number, 'request')} {verb} again."
            )
            if done.cancelled and not (error or finish_reason or invalid):
                stay = "stays" if done.cancelled == 1 else "stay"
                console.note(
                    f"{words.number(done.cancelled, 'cancelled request')} {stay} "
                    "cancelled: `--cancelled` takes them back."
                )
        for code in done.unknown_codes:
            console.note(
                f"No request failed with the error code {code}; {_codes(done)}."
            )
        if is_changed:
            # All of them, also those that this command did not put back.
            console.note(
                f"Job {found.id} ({found.name}) now uses "
                f"{_changes(done, model is not None, others)}."
            )


def _codes(done: "Retried") -> str:
    """Name the error codes that the job's failures have."""
    if not done.known_codes:
        return "none of the job has failed"
    known = [f"{code} ({count:,})" for code, count in done.known_codes.items()]
    return f"the job's error codes: {', '.join(known)}"


def _changes(done: "Retried", is_model_changed: bool, others: list[str]) -> str:
    """Say what the job's pending requests are sent with from now on, and how many."""
    pending = words.number(done.pending, "pending request")
    model = [f"model {done.job.model}"] if is_model_changed else []
    if not is_model_changed or not done.naming_models:
        return f"{', '.join([*model, *others])} for its {pending}"
    changed = done.pending - done.naming_models
    text = f"{model[0]} for {changed:,} of its {pending}; {done.naming_models:,} "
    text += "names its own" if done.naming_models == 1 else "name their own"
    return f"{text}; {', '.join(others)} for all of them" if others else text


def cancel(job: JobName, db: Db = None) -> None:
    """Cancel what waits; answers stay, calls in flight are finished."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found, what = upkeep.cancel(service, job)
        done = []
        if what.cancelled or not what.withdrawn:
            done.append(f"{words.number(what.cancelled, 'request')} cancelled")
        if what.cancelled:
            done[0] += f" (`quotabatch retry --cancelled {found.id}` queues them again)"
        if what.withdrawn:
            retries = words.number(what.withdrawn, "retry", "retries")
            done.append(f"{retries} withdrawn (old answers kept)")
        console.note(f"Job {found.id} ({found.name}): {'; '.join(done)}.")


def pause(job: JobName, db: Db = None) -> None:
    """Leave a job alone until `resume`; runs go on with the others."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.pause(service, job)
        console.note(f"Job {found.id} ({found.name}) is paused.")


def resume(job: JobName, db: Db = None) -> None:
    """Resume a paused job."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.resume(service, job)
        console.note(
            f"Job {found.id} ({found.name}) resumed; `quotabatch run` continues it."
        )


def change(
    job: JobName,
    priority: Annotated[
        int | None,
        typer.Option(
            help="Jobs with a higher one come first.", min=-(10**9), max=10**9
        ),
    ] = None,
    daily_cap: Annotated[
        int | None,
        typer.Option(
            help="Most credits a day for this job; 0: no cap.", min=0, max=10**12
        ),
    ] = None,
    due: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="When it is to be done; none: no more."),
    ] = None,
    db: Db = None,
) -> None:
    """Change how much a job gets, and when; also while it runs."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.change(
            service, job, priority=priority, daily_cap=daily_cap, due=due
        )
        cap = words.number(found.daily_cap, "credit") if found.daily_cap else "any"
        due_at = "at no time"
        if found.due_at:
            due_at = words.due(found.due_at, service.clock.now())
        console.note(
            f"Job {found.id} ({found.name}): priority {found.priority}, {cap} a day, "
            f"due {due_at}."
        )


def delete(
    job: JobName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
) -> None:
    """Remove a job with its answers; what it cost stays in the ledger."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = service.job(job)
        if not yes and not console.agrees(
            f"Delete job {found.id} ({found.name}) with its answers?"
        ):
            console.note("Nothing was deleted (without a terminal, say --yes).")
            raise typer.Exit(1)
        upkeep.delete(service, str(found.id))
        console.note(f"Job {found.id} ({found.name}) is deleted.")


def _as_given(value: Any) -> str:
    """Write a parameter's value as the command line takes it."""
    import orjson

    return value if isinstance(value, str) else orjson.dumps(value).decode()
