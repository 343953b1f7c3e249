"""A host has one name, however its URL is spelled."""

from __future__ import annotations

import pytest

from batch.core.hosts import host_of, shown


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com"),
        ("HTTPS://API.OpenAI.com.:443/other/path", "https://api.openai.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://127.0.0.1:8775/v1", "http://127.0.0.1:8775"),
        ("http://user:secret@127.0.0.1:8775/v1", "http://127.0.0.1:8775"),
        ("http://[::1]:8775/v1", "http://[::1]:8775"),
        ("http://[0:0:0:0:0:0:0:1]:8775/v1", "http://[::1]:8775"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example"),
        (
            "https://api.cloudflare.com/accounts/{account}/v1",
            "https://api.cloudflare.com",
        ),
        ("{base_url}", ""),
        ("https://{account}.example/v1", ""),
        ("ftp://example.com", ""),
        ("http://[::1", ""),
        ("http://example.com:port", ""),
    ],
)
def test_a_host_has_one_name(url: str, host: str):
    assert host_of(url) == host


def test_people_read_it_without_its_scheme():
    assert shown("http://127.0.0.1:8775") == "127.0.0.1:8775"
    assert shown("") == ""
