"""What a profile of the protocol openai may say, and what it is by default."""

from __future__ import annotations

from typing import Any

import pytest

from batch.core.verdict import Rules
from batch.errors import ConfigError
from batch.providers.profiles import Profile, merged

WHERE = "/home/x/config.toml"
LEAST: dict[str, Any] = {
    "protocol": "openai",
    "base_url": "http://localhost:1/v1",
    "quotas": [{"limit": 5, "window": "day"}],
}


def mine(**table: Any) -> Profile:
    return merged({"mine": {**LEAST, **table}}, WHERE)["mine"]


def test_answers_come_as_a_stream_unless_the_profile_says_otherwise():
    profile = mine()
    assert (profile.stream, profile.stream_usage) == (True, False)
    assert profile.on_length == "complete"
    other = mine(stream=False, stream_usage=True, on_length="fail")
    assert (other.stream, other.stream_usage) == (False, True)
    assert other.on_length == "fail"


def test_it_knows_the_codes_of_its_protocol_unless_it_lists_its_own():
    assert mine().rules.exhausted == {"insufficient_quota"}
    assert mine().rules.refused == {"invalid_api_key", "no_db_connection"}
    own = mine(errors={"exhausted": ["1304"]})
    assert own.rules == Rules(exhausted=frozenset({"1304"}))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"stream": "no"}, "stream: must be true or false"),
        ({"stream": 0}, "stream: must be true or false"),
        ({"stream_usage": "yes"}, "stream_usage: must be true or false"),
        ({"on_length": "retry"}, "on_length: 'retry' is not one of complete, fail"),
        ({"on_length": True}, "on_length: must be a text"),
        ({"streams": True}, "streams: unknown key; did you mean 'stream'?"),
        # They mean nothing to the other protocol.
        ({"protocol": "espai", "stream": True}, "stream: unknown key"),
        ({"protocol": "espai", "on_length": "fail"}, "on_length: unknown key"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(table, expected):
    with pytest.raises(ConfigError) as error:
        mine(**table)
    assert str(error.value).startswith(f"{WHERE}: profiles.mine.{expected}")
