"""The proxy on the way to an endpoint: the setting's, or else the environment's."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from batch.core.urls import masked
from batch.errors import ConfigError

#: The setting that goes by no proxy, whatever the environment says.
NONE = "none"


def check(setting: str, where: str) -> str:
    """Give the setting back, if it can be used; `where` says where it was given."""
    if setting and setting != NONE:
        _http(setting, where)
    return setting


def on_the_way(url: str, setting: str) -> str | None:
    """Find the proxy for this URL; None: it is called directly.

    The environment's proxies are for other hosts than this machine. ConfigError where
    what the environment names is of a kind that cannot be used.
    """
    if setting:
        return None if setting == NONE else _http(setting, "proxy")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        # Whoever calls it says that it is no URL.
        return None
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named or _is_here(host):
        return None
    # It takes a while to load.
    from urllib.request import getproxies, proxy_bypass

    found = getproxies()
    name = parts.scheme if parts.scheme in found else "all"
    if name not in found or proxy_bypass(f"{host}{port}"):
        return None
    return _http(found[name], f"${name.upper()}_PROXY")


def named(url: str, setting: str) -> str:
    """Name the proxy on the way to this URL, without its password; empty: none."""
    proxy = on_the_way(url, setting)
    return "" if proxy is None else masked(proxy)


def _http(proxy: str, where: str) -> str:
    """The proxy's URL; ConfigError: it is none that speaks HTTP."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"{where}: {masked(url)!r} cannot be used: only http:// proxies are "
            f'supported. Set `proxy` to one, or to "{NONE}" for a direct connection'
        )
    return url


def _is_here(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
