"""Which room speaks which protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from batch.core.urls import has_login, masked
from batch.errors import ConfigError
from batch.providers.base import Endpoint
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint
from batch.providers.openai import OpenaiEndpoint
from batch.providers.profiles import Profile
from batch.providers.proxies import on_the_way

#: From a profile, a key and bounds to the way to the provider.
Connect = Callable[[Profile, str | None, Bounds], Endpoint]

ENDPOINTS: Mapping[str, Connect] = {"espai": EspaiEndpoint, "openai": OpenaiEndpoint}


def connect(profile: Profile, key: str | None, bounds: Bounds) -> Endpoint:
    """The way to a provider, in the protocol that its profile names.

    ConfigError where the profile lacks what only its user can know.
    """
    if profile.lacks:
        raise ConfigError(f"{profile.name}: {profile.advice}")
    if key and profile.protocol == "openai" and has_login(profile.base_url):
        raise ConfigError(
            f"{profile.name}: base_url {masked(profile.base_url)} has a user of its "
            "own, and a key is set too: one header cannot carry both. Take the user "
            "out of base_url, or the key away"
        )
    # What cannot be used is told before anything is called.
    on_the_way(profile.base_url, profile.proxy)
    return ENDPOINTS[profile.protocol](profile, key, bounds)
