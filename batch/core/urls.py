"""URLs as they may be shown: without the password that may stand in them."""

from __future__ import annotations


def masked(url: str) -> str:
    """Hide the user info of a URL, but for a name that has a password beside it."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url
    ends = [at for at in map(rest.find, "/?#") if at >= 0]
    host_ends = min(ends, default=len(rest))
    login, at, host = rest[:host_ends].rpartition("@")
    if not at:
        return url
    name, colon, _ = login.partition(":")
    shown = f"{name}:***" if colon else "***"
    return f"{scheme}://{shown}@{host}{rest[host_ends:]}"


def has_login(url: str) -> bool:
    """Tell whether a user, or a user and a password, stand in a URL."""
    return masked(url) != url
