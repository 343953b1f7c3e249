"""Laws of addresses: a password is nowhere to be seen, one database has one name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from batch.address import Server, is_url, server

HOME = Path("/home/of/user")
CANARY = "CANARY7f3a9c51"
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126))


def shown(one: Server) -> str:
    """All that anybody may see of it."""
    return f"{one} {one!r} {one.name} {one.identity} {one.beside}"


@given(texts)
def test_a_password_that_is_encoded_reaches_the_driver_alone(rest: str):
    password = CANARY + rest
    for url in (
        f"postgresql://u:{quote(password, safe='')}@h/d",
        f"postgres://u@h/d?password={quote(password, safe='')}",
    ):
        one = server(url, HOME)
        assert make_url(one.url).password == password
        assert one.has_password
        assert CANARY not in shown(one)
        assert one.name == "postgresql+psycopg://u@h/d"


@given(printable, printable)
def test_one_that_is_not_encoded_is_never_shown_either(before: str, after: str):
    url = f"postgresql://u:{before}{CANARY}{after}@h/d"
    try:
        said = shown(server(url, HOME))
    except ValueError as error:
        said = f"{error} {error.__cause__} {error.__context__}"
    assert CANARY not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:CANARY@host:notaport/db",
        "postgresql://u:CANARY@host:99999/db",
        "mysql://u:CANARY@h/d",
        "postgresql:/u:CANARY@h/d",
        "postgresql:u:CANARY@h/d",
        " postgres+psycopg2://u:CANARY@h/d",
        "postgresql://u:12/CANARY@h",
        "postgresql://u:12#CANARY@h/d",
        "postgresql://u:12?CANARY@h/d",
        "postgresql://u:CANARY@[h/d",
        "postgresql://u:CANARY@h/a/b",
        "postgresql://:CANARY@h/",
        "postgresql://u@h/d?port=CANARY",
        "postgresql://u:CANARY%00@h/d",
        "postgresql://u:CANARY\u2100@h/d",
        "postgresql://u:CANARY\udcff@h/d",
    ],
)
def test_what_is_no_address_is_told_without_repeating_it(url):
    assert is_url(url)
    with pytest.raises(ValueError, match=r"URL|spoken|database") as error:
        server(url, HOME)
    assert "CANARY" not in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__context__ is None


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "postgresql://h/d",
            "postgres://u@h/d",
            "postgresql+psycopg://u:secret@H:5432/d/",
            "POSTGRESQL://u@h/%64?connect_timeout=3",
            "postgresql://u@h?dbname=d",
            "postgresql:///d?host=h",
            "postgresql://d@h",
            "postgresql://u@another/x?host=h&dbname=d&port=5432",
        ],
        [
            "postgresql://u@/d?host=/run/Sockets",
            "postgresql:///d?host=/run/Sockets/&password=secret",
            "postgresql://%2Frun%2FSockets/d",
        ],
        ["postgresql://[::1]:5433/d", "postgresql:///d?host=::1&port=5433"],
    ],
)
def test_one_database_has_one_identity_however_it_is_spelled(spellings):
    found = {(one.identity, one.beside) for one in (server(s, HOME) for s in spellings)}
    assert len(found) == 1


def test_different_databases_have_different_ones():
    urls = [
        "postgresql://h/d",
        "postgresql://h/D",
        "postgresql://i/d",
        "postgresql://h:5433/d",
        "postgresql:///d?host=/h",
        "postgresql:///d?host=/h&port=5433",
        "postgresql:///d",
    ]
    assert len({server(url, HOME).identity for url in urls}) == len(urls)


@given(printable.filter(bool), printable.filter(bool))
def test_the_name_is_an_address_of_the_same_database(user: str, database: str):
    if "/" in database or "@" in database:
        return
    url = f"postgresql://{quote(user, safe='')}@h:5433/{quote(database, safe='')}"
    one = server(url, HOME)
    assert server(one.name, HOME) == one
    assert server(one.url, HOME) == one
    driver = make_url(one.url)
    assert (driver.username, driver.database) == (user, database)


@pytest.mark.parametrize("text", ["jobs.db", "/a/b.db", "a:b", "./postgresql", "C:\\x"])
def test_a_path_is_no_url(text):
    assert not is_url(text)


@pytest.mark.parametrize(
    ("parameters", "is_pooled"),
    [
        ("pgbouncer=1", True),
        ("pgbouncer=true", True),
        ("pgbouncer=0", False),
        ("prepare_threshold=none", True),
        ("prepare_threshold=None&sslmode=require", True),
        ("sslmode=require", False),
    ],
)
def test_a_pooler_is_told_of_in_the_url_and_the_driver_never_sees_it(
    parameters, is_pooled, tmp_path
):
    found = server(f"postgresql://me@db/prompts?{parameters}", tmp_path)
    assert found.is_pooled is is_pooled
    assert "pgbouncer" not in found.url
    assert "prepare_threshold" not in found.url
    assert ("sslmode=require" in found.url) is ("sslmode" in parameters)
    for wrong in ("pgbouncer=maybe", "prepare_threshold=7"):
        with pytest.raises(ValueError, match="has a wrong parameter: "):
            server(f"postgresql://me@db/prompts?{wrong}", tmp_path)
