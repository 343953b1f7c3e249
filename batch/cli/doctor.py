"""`doctor`: what is in order, what is not, and what to do about it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli import console
from batch.cli.house import BaseUrl, Db, Json, Provider, opened

if TYPE_CHECKING:
    from batch.service.findings import Finding


def doctor(
    call: Annotated[
        bool,
        typer.Option("--call", help="Also make one call, which costs a credit."),
    ] = False,
    provider: Provider = None,
    base_url: BaseUrl = None,
    json: Json = False,
    db: Db = None,
) -> None:
    """Look whether everything is in order; say what is not, and what to do.

    Leaves with 1 when something is wrong. Costs no credit, unless you say --call.
    """
    import asyncio

    given = {"db": db, "provider": provider, "base_url": base_url}
    with opened(makes=call, reads_only=not call, **given) as service:
        from batch.service import health, trial

        def all_of_it() -> "Iterator[Finding]":
            yield from health.examine(service)
            yield from asyncio.run(health.examine_endpoint(service))
            if call:
                yield asyncio.run(trial.call(service))

        report(all_of_it(), json=json)


def report(findings: "Iterable[Finding]", *, json: bool) -> None:
    """Show each as it is found; leave with 1 when something is wrong."""
    from batch.service.findings import State

    found = []
    for finding in findings:
        found.append(finding)
        if not json:
            _show(finding)
    if json:
        console.as_json([_as_json(one) for one in found])
    if any(one.state is State.WRONG for one in found):
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    mark = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.state]
    advice = f". To do: {finding.advice}" if finding.advice else ""
    console.data(f"{mark}  {finding.check:<9}  {finding.text}{advice}")


def _as_json(finding: "Finding") -> dict[str, str]:
    return {
        "check": finding.check,
        "state": finding.state,
        "text": finding.text,
        "advice": finding.advice,
    }
