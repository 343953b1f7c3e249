"""`models`, `providers`, `config`: what there is, and where each setting came from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Json, Provider, opened
from batch.core.quota import PERIODIC, Quota, WindowKind

if TYPE_CHECKING:
    from batch.providers.profiles import Profile


def print_version() -> None:
    from importlib.metadata import version

    console.data(f"quotabatch {version('quotabatch')}")


def models(provider: Provider = None, json: Json = False) -> None:
    """The models that the provider is known to have: name and id."""
    with opened(provider=provider) as service:
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
    name: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    json: Json = False,
) -> None:
    """The providers that are known, with their limits and where these are from."""
    with opened() as service:
        names = [name] if name else sorted(service.settings.profiles)
        found = [service.settings.profile(one) for one in names]
        if json:
            rows = [_profile(one) for one in found]
            console.as_json(rows if name is None else rows[0])
            return
        for profile in found:
            for line in _lines(profile):
                console.data(line)


def _lines(profile: Profile) -> list[str]:
    lines = [f"{profile.name}  {profile.title}  {profile.base_url}"]
    for quota in profile.quotas:
        reset = ""
        if quota.kind in (WindowKind.DAY, WindowKind.MONTH):
            reset = f", reset {quota.reset:%H:%M} {quota.zone}"
        allowance = words.allowance(quota, full=True)
        lines.append(f"   {quota.name}: {allowance}{reset}")
    if not profile.price.is_flat or profile.price.call != 1:
        lines.append(f"   {words.price(profile.price)}")
    if profile.source:
        lines.append(f"   as of {profile.as_of}, from {profile.source}")
    if profile.notes:
        lines.append(f"   {profile.notes}")
    return lines


def config(json: Json = False) -> None:
    """Every setting, its value, and where it came from."""
    with opened() as service:
        settings = service.settings
        rows = [
            {"name": name, "value": value, "origin": settings.origins[name]}
            for name, value in settings.values.items()
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


def _period(quota: Quota) -> float | None:
    """Seconds; None where the window has no period of its own."""
    return quota.period.total_seconds() if quota.kind in PERIODIC else None


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "protocol": profile.protocol,
        "base_url": profile.base_url,
        "key_env": profile.key_env,
        "quotas": [
            {
                "name": one.name,
                "limit": one.limit,
                "window": one.kind,
                "zone": str(one.zone),
                "reset": f"{one.reset:%H:%M}",
                "period": _period(one),
                "guard": one.guard.total_seconds(),
                "unit": one.unit,
                "per": one.per,
            }
            for one in profile.quotas
        ],
        "price": asdict(profile.price),
        "models": [{"name": one.name, "id": one.id} for one in profile.models],
        "source": profile.source,
        "as_of": profile.as_of,
        "notes": profile.notes,
    }
