"""`models`, `providers`, `config`: what there is, and where each setting came from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Json, Provider, opened
from batch.core.urls import masked

if TYPE_CHECKING:
    from batch.core.quota import Quota
    from batch.providers.profiles import Profile
    from batch.service.context import Service


def print_version() -> None:
    from importlib.metadata import version

    console.data(f"quotabatch {version('quotabatch')}")


def models(provider: Provider = None, json: Json = False) -> None:
    """The models that the provider is known to have: name and id."""
    with opened(reads_only=True, provider=provider) as service:
        profile = service.settings.profile()
        if json:
            rows = [{"name": one.name, "id": one.id} for one in profile.models]
            console.as_json(rows)
            return
        for one in profile.models:
            console.data(f"{one.id}\t{one.name}")
        if not profile.models:
            console.note(f"No models are listed for {profile.name}: any may be named.")


def providers(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[show NAME]", help="All that is known of one."),
    ] = None,
    json: Json = False,
) -> None:
    """The providers that are known, with their limits and terms; or all of one."""
    with opened(reads_only=True) as service:
        name = _one_of(wanted or [])
        if name is not None:
            profile = service.settings.profile(name)
            if json:
                console.as_json(_profile(service, profile))
                return
            for line in _lines(service, profile):
                console.data(line)
            return
        names = sorted(service.settings.profiles)
        found = [service.settings.profile(one) for one in names]
        if json:
            console.as_json([_profile(service, one) for one in found])
            return
        width = max(len(one) for one in names)
        for profile in found:
            console.data(f"{profile.name:<{width}}  {_in_one_line(service, profile)}")


def _one_of(wanted: Sequence[str]) -> str | None:
    """The name in `providers`, `providers NAME` and `providers show NAME`."""
    names = list(wanted[1:] if wanted[:1] == ["show"] else wanted)
    if len(names) > 1 or (wanted and not names):
        raise typer.BadParameter("say one name: `quotabatch providers show NAME`")
    return names[0] if names else None


def _in_one_line(service: "Service", profile: "Profile") -> str:
    limits = "; ".join(words.allowance(one, full=True) for one in profile.quotas)
    parts = [_key(service, profile), limits]
    if profile.terms:
        parts.append(profile.terms.rstrip("."))
    if profile.lacks:
        parts.append(f"needs {' and '.join(profile.lacks)}")
    return " | ".join(parts)


def _key(service: "Service", profile: "Profile") -> str:
    """`key set`, `no key`, or `needs no key`."""
    if _has_key(service, profile):
        return "key set"
    return "no key" if profile.key_env else "needs no key"


def _has_key(service: "Service", profile: "Profile") -> bool:
    from batch.errors import KeyRefusedError

    try:
        return service.key(profile) is not None
    except KeyRefusedError:
        # One that cannot be read is none; `keys list` says why.
        return False


def _lines(service: "Service", profile: "Profile") -> list[str]:
    from batch.core.quota import WindowKind

    lines = [
        f"{profile.name}  {profile.title}",
        f"   {masked(profile.base_url)}, protocol {profile.protocol}",
    ]
    if profile.lacks:
        lines.append(f"   before it can be called, {profile.advice}")
    variable = f" (${profile.key_env})" if profile.key_env else ""
    lines.append(f"   {_key(service, profile)}{variable}")
    for quota in profile.quotas:
        reset = ""
        if quota.kind in (WindowKind.DAY, WindowKind.MONTH):
            reset = f", reset {quota.reset:%H:%M} {quota.zone}"
        allowance = words.allowance(quota, full=True)
        lines.append(f"   {quota.name}: {allowance}{reset}")
        stated = [f"{what} {name}" for what, name in _headers(quota).items()]
        if stated:
            lines.append(f"      its headers: {', '.join(stated)}")
    if not profile.price.is_flat or profile.price.call != 1:
        lines.append(f"   {words.price(profile.price)}")
    if profile.balance is not None:
        balance = profile.balance
        lines.append(f"   its own count of {balance.quota!r}: {balance.url}")
    for what, codes in _codes(profile).items():
        lines.append(f"   {what}: {', '.join(codes)}")
    models = [
        one.id if one.name == one.id else f"{one.id} ({one.name})"
        for one in profile.models
    ]
    lines.append(f"   models: {', '.join(models) or 'any may be named'}")
    for text in (profile.terms, profile.notes):
        if text:
            lines.append(f"   {text}")
    if profile.source:
        lines.append(f"   as of {profile.as_of}, from {profile.source}")
    return lines


def _headers(quota: "Quota") -> dict[str, str]:
    from dataclasses import asdict

    return {name: header for name, header in asdict(quota.signals).items() if header}


def _codes(profile: "Profile") -> dict[str, list[str]]:
    """Its error codes, by what they mean."""
    rules = profile.rules
    meanings = {
        "used up": rules.exhausted,
        "wrong key": rules.refused,
        "never answered": rules.rejected,
        "not on the plan": rules.barred,
        "passes": rules.transient | rules.transient_words,
    }
    return {what: sorted(codes) for what, codes in meanings.items() if codes}


def config(json: Json = False) -> None:
    """Every setting, its value, and where it came from."""
    with opened(reads_only=True) as service:
        settings = service.settings
        rows = [
            {"name": name, "value": value, "origin": settings.origins[name]}
            for name, value in settings.shown().items()
        ]
        places = {
            "config file": settings.home.config_file,
            "key file": settings.home.key_file,
            "database": settings.database,
        }
        if json:
            where = {name: str(path) for name, path in places.items()}
            console.as_json({"settings": rows, "places": where})
            return
        for row in rows:
            console.data(f"{row['name']} = {row['value']!r}  ({row['origin']})")
        for name, path in places.items():
            console.data(f"{name}: {path}")


def _period(quota: "Quota") -> float | None:
    """Seconds; None where the window has no period of its own."""
    from batch.core.quota import PERIODIC

    return quota.period.total_seconds() if quota.kind in PERIODIC else None


def _profile(service: "Service", profile: "Profile") -> dict[str, Any]:
    from dataclasses import asdict

    from batch.core.quota import COUNTED

    return {
        "name": profile.name,
        "title": profile.title,
        "protocol": profile.protocol,
        "base_url": masked(profile.base_url),
        "lacks": list(profile.lacks),
        "key_env": profile.key_env,
        "has_key": _has_key(service, profile),
        "quotas": [_quota(one) for one in profile.quotas if one != COUNTED],
        "price": asdict(profile.price),
        "balance": profile.balance and profile.balance.url,
        "codes": _codes(profile),
        "models": [{"name": one.name, "id": one.id} for one in profile.models],
        "terms": profile.terms,
        "notes": profile.notes,
        "source": profile.source,
        "as_of": profile.as_of,
    }


def _quota(quota: "Quota") -> dict[str, Any]:
    """As config.toml has it; a limit that nobody knows is null."""
    return {
        "name": quota.name,
        "limit": quota.limit if quota.is_known else None,
        "window": quota.kind,
        "zone": str(quota.zone),
        "reset": f"{quota.reset:%H:%M}",
        "period": _period(quota),
        "guard": quota.guard.total_seconds(),
        "unit": quota.unit,
        "per": quota.per,
        "headers": _headers(quota),
    }
