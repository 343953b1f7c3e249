from __future__ import annotations

import pytest

from batch.core.urls import has_login, masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:8/v1", "http://user:***@host:8/v1"),
        ("https://user:se@cret:x@host", "https://user:***@host"),
        ("https://token@host/a@b", "https://***@host/a@b"),
        ("https://:secret@[::1]:8/", "https://:***@[::1]:8/"),
        ("https://host/a@b?c=d:e@f", "https://host/a@b?c=d:e@f"),
        ("https://host?a@b", "https://host?a@b"),
        ("http://host:8", "http://host:8"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert masked(url) == shown
    assert has_login(url) == (shown != url)
