"""An account is a key at a host; what earlier versions counted for it stays counted."""

from __future__ import annotations

from dealings import close
from scene import HOUR, NOON, SECOND, Scene, answered, daily
from sqlalchemy import Connection, func, select, update

from batch.store import audit, opening, spending
from batch.store.accounts import account, bring_in
from batch.store.schema import accounts, entries

HOST = "https://api.example.com"
#: What an earlier version knew the key of these tests by.
FORMER = [("espai", "fingerprint"), ("other", "another")]


def taken(connection: Connection, host: str = HOST) -> int:
    return account(connection, "espai", "key", host, FORMER)


def test_a_key_at_a_host_has_one_account_whatever_profile_names_it(scene: Scene):
    connection = scene.connection
    first = account(connection, "a", "key", HOST)
    assert account(connection, "b", "key", HOST) == first
    assert account(connection, "a", "key", "http://127.0.0.1:8775") != first
    assert account(connection, "a", "second", HOST) != first
    assert spending.account_of(connection, HOST, "key", []) == first
    assert spending.first_provider(connection, HOST, "key") == "a"


def test_the_ledger_of_an_earlier_version_is_taken_over_with_a_call_in_flight(
    scene: Scene,
):
    connection = scene.connection
    scene.job(3)
    (done, _under_way) = scene.claimed(2)
    scene.settle(answered(done))
    assert spending.account_of(connection, HOST, "key", FORMER) == scene.account_id
    assert taken(connection) == scene.account_id
    # Once more, and by those who only look.
    assert taken(connection) == scene.account_id
    assert spending.account_of(connection, HOST, "key", FORMER) == scene.account_id
    assert scene.used() == 2
    scene.check()


def test_another_host_takes_nothing_over(scene: Scene):
    scene.job(1)
    scene.claimed(1)
    other = account(scene.connection, "espai", "key", "http://127.0.0.1:1")
    assert other != scene.account_id


def test_a_closed_window_stays_closed_where_two_ledgers_become_one(scene: Scene):
    connection = scene.connection
    other = Scene(connection, daily(5))
    other.account_id = account(connection, *FORMER[1])
    other.holder = other.runner()
    scene.job(9)
    scene.claimed(1)
    other.claimed(1)
    close(other, NOON, daily(5), until=NOON + HOUR)
    assert taken(connection) == scene.account_id
    assert scene.claimed(9, NOON + HOUR - SECOND) == []
    # The one that finds out whether there is any more.
    assert len(scene.claimed(9, NOON + HOUR)) == 1


def test_two_ledgers_of_earlier_versions_become_one(scene: Scene):
    connection = scene.connection
    first, second = scene, Scene(connection, daily(5))
    second.account_id = account(connection, *FORMER[1])
    second.holder = second.runner()
    first.job(9)
    first.claimed(2)
    held = second.claimed(2)
    assert taken(connection) == first.account_id
    mine = entries.c.account_id == first.account_id
    assert connection.scalar(select(func.count()).where(mine)) == 4
    # A run of an earlier version goes on where it was, until the next time.
    connection.execute(
        update(entries)
        .where(entries.c.request_id == held[0])
        .values(account_id=second.account_id)
    )
    assert taken(connection) == first.account_id
    assert connection.scalar(select(func.count()).where(mine)) == 4
    rows = spending.accounts_of(connection)
    assert [(row.host, row.fingerprint) for row in rows] == [(HOST, "key")]
    # What both had taken of the day is left to neither.
    assert len(first.claimed(9)) == 1
    quotas = [daily(5)]
    (standing,) = opening.open_windows(connection, first.account_id, quotas, NOON)
    assert standing.used == 5
    assert audit.findings(connection) == []
    known = select(func.count()).select_from(accounts)
    assert connection.scalar(known) == 2


def counted(connection: Connection, account_id: int) -> int:
    mine = entries.c.account_id == account_id
    return connection.scalar(select(func.count()).where(mine)) or 0


def test_settled_calls_of_several_ledgers_are_brought_together_in_pieces(scene: Scene):
    """At each point counters and entries agree, and another piece may be the last."""
    connection, pieces = scene.connection, [2, 2, 1]
    first, second = scene, Scene(connection, daily(9))
    second.account_id = account(connection, *FORMER[1])
    second.holder = second.runner()
    first.job(20)
    first.settle(*map(answered, first.claimed(1)))
    second.settle(*map(answered, second.claimed(5)))
    second.claimed(1)
    close(second, NOON, daily(9), until=NOON + HOUR)
    quotas = [daily(9)]
    for number in range(len(pieces) + 1):
        for one in (first, second):
            wrong = audit.miscounted(connection, one.account_id, quotas, NOON)
            assert audit.findings(connection) + wrong == []
        assert counted(connection, first.account_id) == 1 + sum(pieces[:number])
        more = bring_in(connection, "espai", "key", HOST, FORMER, 2)
        assert more == (number < len(pieces))
    # What is in flight, and the closed window, come at once.
    assert taken(connection) == first.account_id
    assert counted(connection, first.account_id) == 7
    assert audit.miscounted(connection, first.account_id, quotas, NOON) == []
    assert first.claimed(9, NOON + HOUR - SECOND) == []
    assert not bring_in(connection, "espai", "key", HOST, FORMER, 2)


def test_a_closed_window_is_kept_of_a_ledger_whose_calls_were_all_moved(scene: Scene):
    connection = scene.connection
    other = Scene(connection, daily(5))
    other.account_id = account(connection, *FORMER[1])
    other.holder = other.runner()
    scene.job(9)
    scene.settle(*map(answered, scene.claimed(1)))
    other.settle(*map(answered, other.claimed(1)))
    close(other, NOON, daily(5), until=NOON + HOUR)
    while bring_in(connection, "espai", "key", HOST, FORMER, 1):
        pass
    assert counted(connection, other.account_id) == 0
    assert taken(connection) == scene.account_id
    assert scene.claimed(9, NOON + HOUR - SECOND) == []
