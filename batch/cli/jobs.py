"""What a user does to a job: `retry`, `cancel`, `pause`, `resume`, `delete`."""

from typing import Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, JobName, opened, params


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
        from batch.service import upkeep

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
        found, number = done.job, done.number
        changed = []
        if model is not None:
            changed.append(f"model {found.model}")
        changed += [f"{name}={_as_given(value)}" for name, value in asked_with.items()]
        if max_attempts is not None:
            changed.append(f"at most {words.number(max_attempts, 'attempt')}")
        if number or not changed:
            console.note(
                f"Job {found.id} ({found.name}): {words.number(number, 'request')} "
                f"{'waits' if number == 1 else 'wait'} again."
            )
        if changed:
            # All of them, also those that this command did not put back.
            pending = words.number(done.pending, "pending request")
            but = "; rows that name a model of their own keep it"
            console.note(
                f"Job {found.id} ({found.name}) now uses {', '.join(changed)} for its "
                f"{pending}{but if model is not None and found.models else ''}."
            )


def cancel(job: JobName, db: Db = None) -> None:
    """Cancel what waits; answers stay, calls in flight are finished."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found, what = upkeep.cancel(service, job)
        done = []
        if what.cancelled or not what.withdrawn:
            done.append(f"{words.number(what.cancelled, 'request')} cancelled")
        if what.cancelled:
            done[0] += f" (`quotabatch retry --cancelled {found.id}` takes that back)"
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
    """Work on a paused job again."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.resume(service, job)
        console.note(f"Job {found.id} ({found.name}) is worked on again.")


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
            help="Credits of a day that it may take; 0: any.", min=0, max=10**12
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
