"""An error in a reply is judged by the status, code and headers that it tells of."""

from __future__ import annotations

import pytest
from chatting import decoded, event, failed


@pytest.mark.parametrize(
    ("code", "status"),
    [(429, 429), ("429", 429), (503, 503), (200, 200), (4002, 200), ("E1", 200)],
)
def test_the_code_of_an_error_may_be_an_http_status(code, status):
    data = event({"error": {"message": "no", "code": code}})
    got = failed(decoded(data), "endpoint_error")
    assert (got.status, got.endpoint_code) == (status, str(code))


def test_an_error_may_tell_its_status_beside_its_code():
    told = {"message": "no", "code": "slow_down", "status": 429}
    got = failed(decoded(event({"error": told})), "endpoint_error")
    assert (got.status, got.endpoint_code) == (429, "slow_down")


def test_the_headers_that_an_error_tells_of_are_judged_as_headers():
    headers = {"X-RateLimit-Reset": "1", "Retry-After": "7"}
    error = {"code": 429, "message": "slow", "metadata": {"headers": headers}}
    got = failed(decoded(event({"error": error})), "endpoint_error")
    assert got.headers == {"x-ratelimit-reset": "1", "retry-after": "7"}
