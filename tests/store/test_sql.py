"""What is asked in SQL itself is answered alike, whoever carries the question."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest
from noting import RECIPE
from scene import DAY, HOUR, NOON, SECOND, Scene, answered, daily, failed
from sqlalchemy import Boolean

from batch.store import (
    clocks,
    evidence,
    jobs,
    pages,
    resets,
    schema,
    spending,
    sql,
    states,
    windows,
)
from batch.store.engine import Database
from batch.store.evidence import Decision
from batch.store.sql import AnyConnection

START = clocks.Start(NOON, confirmed=True)


def test_times_and_truths_are_known_by_the_names_of_their_columns():
    columns = [one for table in schema.metadata.sorted_tables for one in table.c]
    times = {one.name for one in columns if isinstance(one.type, schema.Moment)}
    truths = {one.name for one in columns if isinstance(one.type, Boolean)}
    others = {
        one.name for one in columns if not isinstance(one.type, schema.Moment | Boolean)
    }
    assert times == sql.MOMENTS
    assert truths == sql.TRUTHS
    assert not others & (times | truths)


def test_a_line_has_its_columns_by_name_and_by_place(database: Database):
    row = {"boot": "boot", "booted_at": NOON, "confirmed": True}
    query = "SELECT * FROM datings WHERE boot = :boot"
    with database.transaction() as connection:
        connection.execute(schema.datings.insert().values(**row))
    with database.looking() as connection:
        line = sql.row(connection, query, boot="boot")
        assert (line.boot, line.booted_at, line.confirmed) == ("boot", NOON, True)
        assert tuple(line) == ("boot", NOON, True)
        assert line.confirmed is True
        assert sql.row(connection, query, boot="another") is None


def test_what_looks_like_a_parameter_is_text_where_it_is_given(database: Database):
    odd = "100 % of :account_id, %s and %(at)s: 'yes'; --"
    with database.transaction() as connection:
        scene = Scene(connection)
        evidence.note(
            connection, scene.account_id, Decision.LIMIT, odd, NOON, "daily 50%"
        )
    for view in (database.looking, database.reading):
        with view() as connection:
            (line,) = evidence.newest(connection, scene.account_id, 5)
        assert (line.text, line.quota, line.at) == (odd, "daily 50%", NOON)
        assert line.what == Decision.LIMIT


def test_whoever_only_looks_sees_what_a_transaction_sees(database: Database):
    """One truth: forecasts and `status` by the rows that runs take from."""
    quotas = [daily(), replace(daily(name="of a model"), scope="model:m")]
    with database.transaction() as connection:
        scene = Scene(connection, *quotas)
        scene.job(9, same_as={7: 0, 8: 1})
        ids = scene.claimed(4)
        scene.settle(answered(ids[0]), *map(failed, ids[1:3]))
        resets.learn(
            connection, scene.account_id, quotas[0], NOON - HOUR, NOON - SECOND
        )

    def seen(connection: AnyConnection) -> list[object]:
        (job,) = jobs.listed(connection)
        there = states.counts(connection, job)
        account_id = scene.account_id
        return [
            job,
            jobs.listed(connection, ids=[], active=True),
            jobs.listed(connection, ids=[job.id, 77], provider=job.provider),
            there,
            states.to_ask(connection, job, there),
            states.has_left(connection, job),
            states.failures(connection, job),
            states.invalid(connection, job),
            spending.reserved(connection, account_id),
            spending.newest_calls(connection, account_id, 9),
            spending.models_of(connection, account_id),
            spending.first_spent(connection, account_id),
            spending.spent_between(connection, account_id, NOON - DAY, NOON + DAY),
            windows.standings(connection, account_id, quotas, NOON + SECOND),
            windows.standings(connection, account_id, quotas, NOON + DAY),
            [*map(tuple, chain.from_iterable(pages.page(connection, job, 0, 99)))],
            pages.last_errors(connection, ids),
        ]

    looked = database.look(seen)
    assert looked == database.read(seen)
    assert looked == database.write(seen)
    assert "of a model" in str(looked)


def test_who_looks_sees_what_was_there_when_it_began(database: Database):
    def boots(connection: AnyConnection) -> int:
        found: int = sql.scalar(connection, "SELECT count(*) FROM clocks")
        return found

    database.write(clocks.believe, "first", START, NOON)
    with database.looking() as outer:
        assert boots(outer) == 1
        database.write(clocks.believe, "second", START, NOON + timedelta(seconds=1))
        assert boots(outer) == 1
        # Another look within it has begun later.
        assert database.look(boots) == 2
        assert boots(outer) == 1
    assert database.look(boots) == 2


def test_a_mistake_while_looking_spoils_nothing(database: Database):
    with pytest.raises(Exception, match="no_such_table"):
        database.look(sql.rows, "SELECT * FROM no_such_table")
    assert database.look(spending.accounts_of) == []


def test_a_look_writes_nothing_and_leaves_no_lock_behind(sqlite_database: Database):
    def meddle(connection: AnyConnection) -> None:
        sql.execute(connection, "UPDATE clocks SET seen_at = :now", now=NOON)

    def fall_over(connection: AnyConnection) -> None:
        meddle(connection)
        raise ZeroDivisionError

    sqlite_database.write(clocks.believe, "boot", START, NOON - HOUR)
    sqlite_database.look(meddle)
    with pytest.raises(ZeroDivisionError):
        sqlite_database.look(fall_over)
    sqlite_database.write(clocks.believe, "another", START, NOON)
    line = sqlite_database.look(clocks.seen, "boot", 0.0)
    assert line is not None
    assert line.seen_at == NOON - HOUR


def test_the_recipe_is_in_force_also_where_one_only_looks(sqlite_database: Database):
    with sqlite_database.looking() as connection:
        pragmas = {name: sql.scalar(connection, f"PRAGMA {name}") for name in RECIPE}
    assert pragmas == RECIPE
