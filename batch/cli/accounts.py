"""`quota` and `keys`: whose allowance it is, and what is left of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, Json, Provider, opened

if TYPE_CHECKING:
    from batch.providers.profiles import Profile
    from batch.service.context import Service
    from batch.service.reading import AccountReport
    from batch.store.schema import AnyRow

KeyOf = Annotated[
    str,
    typer.Argument(
        metavar="[PROVIDER]", help="Whose key it is [default: the default provider]."
    ),
]

quota = typer.Typer(help="What is left of the allowance, and when it is back.")
keys = typer.Typer(help="API keys: set, list, remove.", no_args_is_help=True)


@quota.callback(invoke_without_command=True)
def show_quota(
    context: typer.Context,
    history: Annotated[
        bool, typer.Option("--history", help="The windows so far, newest first.")
    ] = False,
    json: Json = False,
    provider: Provider = None,
    db: Db = None,
) -> None:
    """Per account: limit, used, reserved, remaining, the time of the reset."""
    if context.invoked_subcommand is not None:
        return
    with opened(db=db, provider=provider) as service:
        from batch.service import reading

        if history:
            _history(service, json)
            return
        reports = reading.account_reports(service)
        if json:
            console.as_json([row for one in reports for row in _as_json(service, one)])
            return
        for report in reports:
            for line in _lines(service, report):
                console.data(line)


@quota.command()
def record(
    credits: Annotated[
        int, typer.Argument(metavar="N", min=1, max=10**12, help="How many.")
    ],
    note: Annotated[str | None, typer.Option(help="What they were spent on.")] = None,
    provider: Provider = None,
    db: Db = None,
) -> None:
    """Book N credits that were spent elsewhere with this key."""
    with opened(db=db, provider=provider) as service:
        from batch.service import upkeep

        account = upkeep.record(service, credits, note)
        console.note(f"{account}: {words.number(credits, 'credit')} booked as spent.")


@keys.command("set")
def set_key(provider: KeyOf = "") -> None:
    """Keep a key, typed unseen or from standard input; never as an argument."""
    with opened() as service:
        profile = _named(service, provider)
        if sys.stdin is not None and sys.stdin.isatty():
            secret = typer.prompt(
                f"Key for {profile.name}", hide_input=True, err=True, type=str
            )
        else:
            secret = sys.stdin.readline() if sys.stdin is not None else ""
        service.keyring.store(profile.name, secret)
        shown = service.fingerprint(profile)
        console.note(
            f"The key for {profile.name} is kept in {service.keyring.path}, for your "
            f"eyes only; its fingerprint is {shown}."
        )


@keys.command("list")
def list_keys(json: Json = False) -> None:
    """Which providers have a key, by fingerprint, and where it comes from."""
    with opened() as service:
        rows = []
        for name in sorted(service.settings.profiles):
            profile = service.settings.profile(name)
            key = service.key(profile)
            if key is not None:
                shown = service.fingerprint(profile)
                rows.append(
                    {"provider": name, "fingerprint": shown, "origin": key.origin}
                )
        if service.keyring.exposed():
            path = service.keyring.path
            console.note(f"Warning: others can read {path}: chmod 600 {path}")
        if json:
            console.as_json(rows)
            return
        for row in rows:
            console.data(f"{row['provider']}  {row['fingerprint']}  {row['origin']}")
        if not rows:
            console.note("No keys: `quotabatch keys set` keeps one.")


@keys.command("remove")
def remove_key(provider: KeyOf = "") -> None:
    """Forget a key that `keys set` kept."""
    from batch.errors import UsageError

    with opened() as service:
        profile = _named(service, provider)
        if not service.keyring.remove(profile.name):
            raise UsageError(f"no key is kept for {profile.name}")
        console.note(f"The key for {profile.name} is forgotten.")


def _named(service: Service, provider: str) -> Profile:
    from batch.errors import UsageError

    if provider and provider not in service.settings.profiles:
        # It may be the key itself: it is not repeated.
        known = ", ".join(sorted(service.settings.profiles))
        raise UsageError(
            f"no provider is called that; there are: {known}. A key is never an "
            "argument: it is asked for, or read from standard input"
        )
    return service.settings.profile(provider or None)


def _lines(service: Service, report: AccountReport) -> list[str]:
    now = service.clock.now()
    keep = service.settings["keep"]
    lines = [report.label]
    for one in report.standings:
        back = words.moment(one.resets_at, one.quota.zone)
        in_time = words.stretch((one.resets_at - now).total_seconds())
        lines.append(
            f"   {one.quota.name}: {one.used:,} of {one.limit:,} credits used"
            f"{_aside(report.reserved, 'in flight')}, {one.room(now, keep):,} left"
            f"{_aside(keep, 'kept')}; reset {back}, in {in_time}"
        )
        if one.is_closed(now) and one.closed_until is not None:
            until = words.moment(one.closed_until, one.quota.zone)
            lines.append(f"   closed until {until}: {one.closed_reason}")
    if not report.standings:
        lines.append("   its provider is not configured any more")
    return lines


def _aside(value: int, what: str) -> str:
    return f" ({value:,} {what})" if value else ""


def _as_json(service: Service, report: AccountReport) -> list[dict[str, Any]]:
    now = service.clock.now()
    return [
        {
            "account": report.label,
            "provider": report.provider,
            "quota": one.quota.name,
            "limit": one.limit,
            "used": one.used,
            "reserved": report.reserved,
            "remaining": one.room(now, service.settings["keep"]),
            "starts_at": one.starts_at.isoformat(),
            "resets_at": one.resets_at.isoformat(),
            "closed": one.is_closed(now),
        }
        for one in report.standings
    ]


def _history(service: Service, json: bool) -> None:
    from batch.service import reading

    found = reading.history(service, 60)
    if json:
        console.as_json(
            [
                {
                    "account": account,
                    "quota": row.quota,
                    "limit": row.limit,
                    "used": row.used,
                    "refusals": row.refusals,
                    "starts_at": row.starts_at.isoformat(),
                    "resets_at": row.resets_at.isoformat(),
                }
                for account, rows in found
                for row in rows
            ]
        )
        return
    for account, rows in found:
        for line in history_lines(service, account, rows):
            console.data(line)


def history_lines(service: Service, account: str, rows: Sequence[AnyRow]) -> list[str]:
    """An account's windows, a bar each, by the zone of their quota."""
    profile = service.settings.profiles.get(account.partition(":")[0])
    zones = {one.name: one.zone for one in profile.quotas} if profile else {}
    lines = [account]
    for row in rows:
        bar = "█" * round(30 * min(row.used, row.limit) / max(row.limit, 1))
        refused = f", refused {row.refusals}×" if row.refusals else ""
        lines.append(
            f"   {words.moment(row.starts_at, zones.get(row.quota), here=False)}"
            f"  {bar:<30}  "
            f"{row.used:,} of {row.limit:,}{refused}"
        )
    return lines
