"""The host that a URL leads to, under one name however it is spelled."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """Return scheme, host and port of a URL; empty where it is not complete."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError:
        return ""
    scheme = parts.scheme.lower()
    if not name or scheme not in _PORTS or "{" in parts.netloc:
        return ""
    name = name.rstrip(".").lower()
    try:
        # An address of IPv6 has several spellings, and is no name of the domain system.
        name = str(ip_address(name))
    except ValueError:
        with contextlib.suppress(UnicodeError):
            name = name.encode("idna").decode()
    shown = f"[{name}]" if ":" in name else name
    is_default = port is None or port == _PORTS[scheme]
    return f"{scheme}://{shown}" if is_default else f"{scheme}://{shown}:{port}"


def shown(host: str) -> str:
    """Return a host as people write it."""
    return host.partition("://")[2] or host
