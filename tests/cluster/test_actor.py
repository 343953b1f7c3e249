"""What runs in a process of the cluster, called as Ray calls it."""

from __future__ import annotations

import asyncio
import logging
import pickle
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from company import a_company

from batch import keys
from batch.cluster import actor
from batch.cluster.values import Machine, Order, Word, abroad
from batch.runner.values import Ending, Options
from batch.standin.service import Standin
from batch.store import audit

KEY = "sk-canary-0123456789"
STOP = Ending(exit_code=130, message="interrupted")
FAR = Machine("far-away", "another-boot")


@asynccontextmanager
async def a_runner(home: Path, monkeypatch, number: int = 5, **standin):
    """A runner, the endpoint that it asks, and an order for it."""
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setenv("ESPAI_API_KEY", KEY)
    served = Standin(**{"latency": 0, "pace": 0, **standin})
    url = await served.start()
    try:
        prompts = [f"p{n}" for n in range(number)]
        async with a_company(home, prompts, QUOTABATCH_BASE_URL=url) as company:
            settings = abroad(company.service.settings)
            order = Order(
                settings=settings,
                machine=actor.machine(),
                job_ids=(1,),
                options=Options(),
                fingerprints={"espai": keys.fingerprint(KEY)},
            )
            # As it comes out of the network.
            yield actor.Runner(), served, pickle.loads(pickle.dumps(order))
    finally:
        await served.stop()


async def test_it_carries_out_an_order_and_tells_how_it_went(tmp_path, monkeypatch):
    async with a_runner(tmp_path / "home", monkeypatch) as (runner, served, order):
        report = await runner.work(order)

    assert report.trouble is None
    (glance,) = pickle.loads(pickle.dumps(report)).look.glances
    assert (glance.provider, glance.calls, glance.completed) == ("espai", 5, 5)
    assert glance.ending == Ending(exit_code=0)
    assert glance.standings[0].used == 5
    assert len(served.calls) == 5


async def test_it_says_where_it_is():
    facts = await actor.Runner().facts()
    assert facts.machine == actor.machine()
    assert facts.version == version("quotabatch")


async def test_it_ends_as_it_is_told_to(tmp_path, monkeypatch):
    async with a_runner(tmp_path / "home", monkeypatch, 500) as (runner, served, order):
        working = asyncio.create_task(runner.work(order))
        while not served.calls:
            await asyncio.wait((working,), timeout=0.01)
        look = await runner.look(Word(endings={"espai": STOP}))
        report = await working

    assert look.glances[0].ending == STOP
    (glance,) = report.look.glances
    assert glance.ending == STOP
    assert glance.completed == len(served.calls) < 500


async def test_a_word_before_it_has_begun_does_no_harm():
    runner = actor.Runner()
    assert await runner.look(Word(endings={"espai": STOP}, abort=True)) == (
        await runner.look(Word())
    )


async def test_what_it_has_in_flight_is_given_up_at_the_second_word(
    tmp_path, monkeypatch
):
    async with a_runner(tmp_path / "home", monkeypatch, latency=3600) as made:
        runner, served, order = made
        working = asyncio.create_task(runner.work(order))
        while not served.calls:
            await asyncio.wait((working,), timeout=0.01)
        await runner.look(Word(endings={"espai": STOP}, abort=True))
        await runner.look(Word(endings={"espai": STOP}, abort=True))
        report = await working

    assert report.look.glances[0].ending == STOP
    (notice,) = report.look.notices
    assert "This run ended with 1 call in flight" in notice
    assert (await runner.look(Word(heard=1))).notices == ()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (None, "there is no key for espai on "),
        ("sk-another-0123456789", "is not the one that is used here"),
    ],
)
async def test_it_has_the_key_that_is_meant_by_itself(tmp_path, monkeypatch, key, says):
    async with a_runner(tmp_path / "home", monkeypatch) as (runner, served, order):
        if key is None:
            monkeypatch.delenv("ESPAI_API_KEY")
        else:
            monkeypatch.setenv("ESPAI_API_KEY", key)
        report = await runner.work(order)

    assert report.trouble is not None
    assert report.trouble.exit_code == 77
    assert says in report.trouble.message
    assert "`quotabatch keys set espai` there" in report.trouble.message
    assert "sk-" not in repr(report)
    assert served.calls == []


async def test_on_another_machine_the_keys_are_those_of_its_own_home(
    tmp_path, monkeypatch
):
    own = tmp_path / "own"
    async with a_runner(tmp_path / "home", monkeypatch) as (runner, served, order):
        monkeypatch.delenv("ESPAI_API_KEY")
        monkeypatch.setenv("QUOTABATCH_HOME", str(own))
        keys.KeyRing(own / "keys.json", {}).store("espai", KEY)
        monkeypatch.setattr(actor, "machine", lambda: FAR)
        report = await runner.work(order)

    assert report.trouble is None
    assert len(served.calls) == 5


async def test_of_an_error_that_nobody_knows_only_its_kind_is_told(
    tmp_path, monkeypatch
):
    async with a_runner(tmp_path / "home", monkeypatch) as (runner, _, order):
        monkeypatch.setattr(audit, "refuse_damage", lambda *_: 1 / 0)
        report = await runner.work(order)

    assert report.trouble is not None
    assert "unexpected ZeroDivisionError on " in report.trouble.message
    assert KEY not in repr(report)


async def test_a_database_that_is_not_there_is_trouble(tmp_path, monkeypatch):
    async with a_runner(tmp_path / "home", monkeypatch) as (runner, _, order):
        order.settings.values["db"] = str(tmp_path / "gone.db")
        order.settings.origins["db"] = "command line"
        report = await runner.work(order)

    assert report.trouble is not None
    assert "there is no database" in report.trouble.message
