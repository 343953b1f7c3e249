"""A sample of what waits stands for all of it, and its cost does not grow with it."""

from __future__ import annotations

import pytest
from scene import Scene
from sqlalchemy import update

from batch.store import sampling, schema, sql
from batch.store.engine import Database
from batch.store.sql import AnyConnection

SIZE = 4 * sampling.SIZE


def test_a_sample_has_the_next_requests_and_some_of_all_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    id, job_id = schema.requests.c.id, schema.requests.c.job_id
    with database.transaction() as connection:
        scene = Scene(connection)
        small, job = scene.job(9, same_as={7: 0}), scene.job(SIZE)
        # Each has its place in the input for its text.
        for place in range(SIZE):
            row = update(schema.requests).where(
                job_id == job.id, id == job.first_id + place
            )
            text = f'[{{"role": "user", "content": "{place}"}}]'
            # Those of the second half were tried before: they come last.
            tried = {"attempts": 2, "failures": 1} if place >= SIZE // 2 else {}
            connection.execute(row.values(messages=text, **tried))

    def seen(connection: AnyConnection) -> list[list[int]]:
        found = sampling.sample(connection, job.id)
        return [
            [int(one.messages[0]["content"]) for one in part]
            for part in (found.first, found.others)
        ]

    first, others = database.look(seen)
    assert first == list(range(sampling.SIZE))
    assert len(set(others)) == len(others)
    assert not set(first) & set(others)
    quarters = [sum(place * 4 // SIZE == one for place in others) for one in range(4)]
    assert quarters[0] == 0
    # A third of them lies in each of the three quarters that are left.
    assert all(abs(number - len(others) / 3) <= 2 for number in quarters[1:])
    # As many questions as there are numbers of attempts, not as there are requests.
    asked = list[str]()
    rows = sql.rows
    monkeypatch.setattr(
        sql, "rows", lambda *way, **values: asked.append(way[1]) or rows(*way, **values)
    )
    database.look(seen)
    assert len(asked) <= 14
    found = database.look(sampling.sample, small.id)
    # One has a twin's answer.
    assert (len(found.first), found.others) == (8, [])
