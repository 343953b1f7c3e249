"""`quota` and `keys`: whose allowance it is, and what is left of it."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, Json, Provider, opened

if TYPE_CHECKING:
    from datetime import datetime

    from batch.core.standing import Standing
    from batch.providers.profiles import Profile
    from batch.service.context import Service
    from batch.service.reading import AccountReport, History

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
        bool, typer.Option("--history", help="The days so far, newest first.")
    ] = False,
    json: Json = False,
    provider: Provider = None,
    db: Db = None,
) -> None:
    """Per account: limit, used, reserved, remaining, the time of the reset."""
    if context.invoked_subcommand is not None:
        return
    with opened(reads_only=True, db=db, provider=provider) as service:
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
    with opened(makes=True, db=db, provider=provider) as service:
        from batch.service import upkeep

        account = upkeep.record(service, credits, note)
        console.note(f"{account}: {words.number(credits, 'credit')} booked as spent.")


@quota.command()
def forget(provider: Provider = None, db: Db = None) -> None:
    """Forget what the endpoint taught: stated limits, closures, observed resets.

    What was spent stays in the ledger.
    """
    with opened(db=db, provider=provider) as service:
        from batch.service import upkeep

        account = upkeep.forget(service)
        console.note(f"{account}: goes by its profile alone again.")


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
        if warning := service.keyring.warning():
            console.note(warning)
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


def _named(service: "Service", provider: str) -> "Profile":
    from batch.errors import UsageError

    if provider and provider not in service.settings.profiles:
        # It may be the key itself: it is not repeated.
        known = ", ".join(sorted(service.settings.profiles))
        raise UsageError(
            f"no provider is called that; there are: {known}. A key is never an "
            "argument: it is asked for, or read from standard input"
        )
    return service.settings.profile(provider or None)


def _lines(service: "Service", report: "AccountReport") -> list[str]:
    keep = service.settings["keep"]
    now = service.time.now()
    lines = [words.with_host(report.label, report.host)]
    for one, grants_at in zip(report.standings, report.grants, strict=True):
        name = one.quota.name
        if one.quota.scope:
            name += f" ({one.quota.scope.partition(':')[2]})"
        lines.append(
            f"   {name}: {words.used(one)} {one.quota.unit} used"
            f"{_aside(report.reserved, 'in flight')}{_left(one, now, keep)}; "
            f"{words.comes_back(one, now, grants_at)}"
        )
        if one.stated_limit is not None and one.stated_limit < one.quota.limit:
            of_profile = f"{one.quota.limit:,}" if one.quota.is_known else "unknown"
            lines.append(
                f"   the endpoint states this limit; the profile's is {of_profile}"
            )
        if one.lies_ahead(now):
            lines.append(f"   {words.CLOCK_WAS_AHEAD}")
        if one.is_closed(now) and one.closed_until is not None:
            until = words.moment(one.closed_until, one.quota.zone)
            until += ", when one call is tried" if one.is_trial else ""
            lines.append(f"   closed until {until}: {one.closed_reason}")
        elif one.unproven:
            lines.append("   one call at a time, until one is answered")
    if not report.standings:
        lines.append("   its provider is not configured any more")
    for row in report.learned:
        calls = words.number(row.calls, "call")
        lines.append(
            f"   {row.model}: an answer has {row.characters:,.0f} characters on "
            f"average; estimates were off by {row.error:.1f} credits ({calls})"
        )
    lines += [
        f"   {words.moment(row.at, here=False)}  {row.quota or 'clock'}: {row.text}"
        for row in report.evidence
    ]
    return lines


def _left(one: "Standing", now: "datetime", keep: int) -> str:
    if not one.is_known:
        return ""
    return f", {one.room(now, keep):,} left{_aside(keep, 'kept')}"


def _aside(value: int, what: str) -> str:
    return f" ({value:,} {what})" if value else ""


def _as_json(service: "Service", report: "AccountReport") -> list[dict[str, Any]]:
    now = service.time.now()
    return [
        {
            "account": report.label,
            "provider": report.provider,
            "host": report.host or None,
            "quota": one.quota.name,
            "scope": one.quota.scope or None,
            "window": one.quota.kind,
            "unit": one.quota.unit,
            "limit": one.limit if one.is_known else None,
            "used": one.used,
            "reserved": report.reserved,
            "remaining": one.room(now, service.settings["keep"])
            if one.is_known
            else None,
            "starts_at": words.iso(one.starts_at),
            "resets_at": words.iso(one.resets_at),
            "grants_at": words.iso(grants_at),
            "closed": one.is_closed(now),
            "closed_until": words.iso(one.closed_until),
            "trial": one.is_closed(now) and one.is_trial,
            "closed_reason": one.closed_reason,
            "unproven": one.unproven,
            "evidence": [
                {"at": words.iso(row.at), "what": row.what, "text": row.text}
                for row in report.evidence
                if row.quota in ("", one.quota.name)
            ],
        }
        for one, grants_at in zip(report.standings, report.grants, strict=True)
    ]


def _history(service: "Service", json: bool) -> None:
    from batch.service import reading

    found = reading.history(service, 60)
    if json:
        console.as_json(
            [
                {
                    "account": one.account,
                    "host": one.host or None,
                    "day": day.day.isoformat(),
                    "starts_at": words.iso(day.starts_at),
                    "limit": _limit(one),
                    "calls": day.spent.calls,
                    "credits": day.spent.credits,
                    "tokens": day.spent.tokens,
                    "refused": day.refused,
                }
                for one in found
                for day in one.days
            ]
        )
        return
    for one in found:
        for line in history_lines(one):
            console.data(line)
    if not found:
        console.note("Nothing has been spent yet.")


def _limit(history: "History") -> int | None:
    """Of a day, where it is known."""
    quota = history.quota
    return quota.limit if quota is not None and quota.is_known else None


def history_lines(history: "History") -> list[str]:
    """An account's days, a bar each."""
    most = max([1, *(day.spent.credits for day in history.days)])
    limit = _limit(history)
    full = limit or most
    lines = [words.with_host(history.account, history.host)]
    for day in history.days:
        spent = day.spent.credits
        bar = "█" * round(30 * min(spent, full) / full)
        of = f" of {limit:,}" if limit else words.credits_of(spent)
        calls = f" in {words.number(day.spent.calls, 'call')}"
        refused = f", {day.refused:,} refused" if day.refused else ""
        aside = calls if day.spent.calls != spent else ""
        lines.append(
            f"   {day.day:%a} {day.day.day:2} {day.day:%b}  {bar:<30}  "
            f"{spent:,}{of}{aside}{refused}"
        )
    return lines
