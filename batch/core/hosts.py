"""The host that a URL leads to, under one name however it is spelled."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from socket import inet_aton, inet_ntoa
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
    name = _address(name) or _domain(name)
    shown = f"[{name}]" if ":" in name else name
    is_default = port is None or port == _PORTS[scheme]
    return f"{scheme}://{shown}" if is_default else f"{scheme}://{shown}:{port}"


def _address(name: str) -> str | None:
    """Return the usual spelling of an IP address; None where it is none."""
    try:
        return str(ip_address(name))
    except ValueError:
        # Short ones, as 127.1, which every resolver takes.
        with contextlib.suppress(OSError):
            return inet_ntoa(inet_aton(name))
    return None


def _domain(name: str) -> str:
    with contextlib.suppress(UnicodeError):
        return name.encode("idna").decode()
    return name


def shown(host: str) -> str:
    """Return a host as people write it."""
    return host.partition("://")[2] or host
