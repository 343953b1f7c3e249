"""`models`, `providers`, `config`: what there is, and where each setting came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batch.cli import console
from batch.cli.house import Json, Provider, opened


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
        rows = [_profile(service.settings.profile(one)) for one in names]
        if json:
            console.as_json(rows if name is None else rows[0])
            return
        for row in rows:
            console.data(f"{row['name']}  {row['title']}  {row['base_url']}")
            for quota in row["quotas"]:
                reset = f", reset {quota['reset']} {quota['zone']}"
                console.data(
                    f"   {quota['name']}: {quota['limit']:,} credits a "
                    f"{quota['window']}{reset if quota['window'] != 'minute' else ''}"
                )
            if row["source"]:
                console.data(f"   as of {row['as_of']}, from {row['source']}")
            if row["notes"]:
                console.data(f"   {row['notes']}")


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


def _profile(profile: Any) -> dict[str, Any]:
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
                "guard": one.guard.total_seconds(),
            }
            for one in profile.quotas
        ],
        "models": [{"name": one.name, "id": one.id} for one in profile.models],
        "source": profile.source,
        "as_of": profile.as_of,
        "notes": profile.notes,
    }
