"""A run with many runners: one first, all when it was answered, none too many."""

from __future__ import annotations

import asyncio

import pytest
from clockwork import ManualClock
from company import DONE, REFUSED, SHARE, a_company, failed, submit, told
from sqlalchemy import update

from batch import presence
from batch.cluster import crew
from batch.cluster.rules import MOST_DEATHS
from batch.cluster.seats import DiedError
from batch.cluster.values import Machine, Trouble
from batch.core.quota import FOREVER
from batch.errors import RunnerError
from batch.runner.values import Ending
from batch.store import accounts, runners
from batch.store.schema import entries, jobs

GONE = DiedError("its process is gone")
ANSWERED = told(calls=1, completed=1)


async def test_the_others_begin_when_the_first_has_its_answer(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(), told(calls=1, in_flight=1), ANSWERED, told(ending=DONE))
        company.write(ANSWERED, told(calls=1, completed=1, ending=DONE))
        await company.run(2)

    begins = company.events.index("2 begins")
    assert company.events[:begins].count("1 has 0") == 2
    assert "1 has 1" in company.events[:begins]


async def test_a_refused_key_costs_one_call_however_many_runners_there_are(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=1, in_flight=1), told(calls=1, ending=REFUSED))
        outcome = await company.run(5)

    assert len(company.orders) == 1
    assert len(company.players) == 5
    assert all(one.is_let_go for one in company.players)
    assert outcome.exit_code == 77
    assert outcome.endings["espai"] == REFUSED
    assert outcome.progress["espai"].calls == 1


async def test_where_the_first_dies_unanswered_another_goes_alone(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=1, in_flight=1), GONE)
        for _ in range(2):
            company.write(told(), ANSWERED, told(calls=1, completed=1, ending=DONE))
        await company.run(2)

    assert company.events[:2] == ["1 begins", "1 has 0"]
    next_one = company.events[2][0]
    assert company.events[2:5] == [
        f"{next_one} begins",
        f"{next_one} has 0",
        f"{next_one} has 1",
    ]


async def test_what_all_did_is_one_progress(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(ANSWERED, told(calls=4, completed=3, failed=1, ending=DONE))
        company.write(ANSWERED, told(calls=5, completed=4, ending=DONE))
        outcome = await company.run(2)

    progress = outcome.progress["espai"]
    assert (progress.calls, progress.completed, progress.failed) == (9, 7, 1)
    assert len(progress.answered) == 7
    assert company.handle.progress == [progress]


async def test_a_stop_of_one_is_told_to_all_others(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(ANSWERED, ANSWERED, told(calls=2, completed=1, ending=REFUSED))
        company.write(*[ANSWERED] * 3)
        outcome = await company.run(2)

    second = company.players[1]
    assert second.words[0].endings == {}
    assert second.words[-1].endings == {"espai": REFUSED}
    assert outcome.endings["espai"] == REFUSED


async def test_failures_in_a_row_are_counted_over_all_runners(tmp_path):
    """Two runners with five failures each are one with ten."""
    async with a_company(tmp_path / "home") as company:
        company.write(
            ANSWERED, *[failed(n, calls=n + 1, completed=1) for n in range(9)]
        )
        company.write(*[failed(n, calls=n) for n in range(9)])
        outcome = await company.run(2)

    assert outcome.exit_code == 69
    assert "10 calls in a row failed, the last with: HTTP 503" in (
        outcome.endings["espai"].message
    )
    # Neither came to ten by itself.
    assert outcome.progress["espai"].calls < 1 + 9 + 9


async def test_where_it_waits_for_the_network_a_row_of_failures_ends_nothing(tmp_path):
    async with a_company(tmp_path / "home") as company:
        rows = [failed(n, sent=False, completed=1) for n in range(0, 60, 5)]
        company.write(*rows, told(completed=2, ending=DONE), finishes=True)
        outcome = await company.run(1, wait=True)

    assert outcome.endings["espai"] == DONE


async def test_the_first_signal_drains_all_of_them_and_the_second_gives_up(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(ANSWERED, obeys=False)
        company.write(ANSWERED)
        running = asyncio.create_task(company.run(2))
        while "2 has 1" not in company.events:
            await asyncio.wait((running,), timeout=0)
        assert company.handle.interrupt(130)
        while len(company.players[1].words[-1].endings) == 0:
            await asyncio.wait((running,), timeout=0)
        assert not company.players[0].words[-1].abort
        assert not company.handle.interrupt(130)
        # One does not answer any more: it is not waited for without an end.
        outcome = await running

    assert company.players[0].words[-1].abort
    assert company.players[0].is_let_go
    assert outcome.exit_code == 130
    assert outcome.endings["espai"] == Ending(exit_code=130, message="interrupted")
    assert any("it does not answer" in note for note in company.notes)


async def test_who_dies_while_all_end_is_not_replaced(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(ANSWERED, *[GONE] * 2)
        company.handle.code = None
        running = asyncio.create_task(company.run(1))
        while "1 has 1" not in company.events:
            await asyncio.wait((running,), timeout=0)
        company.handle.interrupt(143)
        outcome = await running

    assert len(company.players) == 1
    assert outcome.exit_code == 143
    assert [note for note in company.notes if "before it had ended" in note]


async def test_who_dies_is_replaced_and_its_part_is_kept(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=7, completed=5, failed=1, in_flight=1), GONE)
        company.write(told(calls=2, completed=2, ending=DONE))
        outcome = await company.run(1)

    progress = outcome.progress["espai"]
    assert (progress.calls, progress.completed, progress.failed) == (9, 7, 1)
    assert progress.in_flight == 0
    (note,) = company.notes
    assert note.startswith("Runner 1 of 1 died on ")
    assert note.endswith(": its process is gone. Another takes its place.")


async def test_a_place_in_which_all_die_ends_the_run(tmp_path):
    async with a_company(tmp_path / "home") as company:
        for _ in range(MOST_DEATHS):
            company.write(told(calls=1, in_flight=1), GONE)
        with pytest.raises(RunnerError, match=f"died {MOST_DEATHS} times in a row"):
            await company.run(1)

    assert len(company.players) == MOST_DEATHS


async def test_a_place_whose_runners_die_between_answers_is_kept(tmp_path):
    async with a_company(tmp_path / "home") as company:
        for _ in range(3 * MOST_DEATHS):
            company.write(told(calls=2, completed=1, in_flight=1), GONE)
        outcome = await company.run(1)

    assert len(company.players) == 3 * MOST_DEATHS + 1
    assert outcome.progress["espai"].completed == 3 * MOST_DEATHS


async def test_the_calls_that_all_may_make_are_shared_out(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=1, completed=1), told(calls=3, ending=SHARE))
        company.write(told(calls=2, completed=1), told(calls=2, ending=SHARE))
        company.write(told(calls=2, completed=1), told(calls=2, ending=SHARE))
        outcome = await company.run(3, max_calls=7)

    assert [one.options.max_calls for one in company.orders] == [3, 2, 2]
    assert outcome.exit_code == 75
    assert outcome.endings["espai"] == SHARE


async def test_of_few_calls_not_everybody_gets_one(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=1, ending=SHARE))
        company.write(told(calls=1, ending=SHARE))
        await company.run(5, max_calls=2)

    # The first had no answer, so the other one went alone too.
    assert company.events == ["1 begins", "1 has 0", "2 begins", "2 has 0"]


async def test_who_comes_after_a_dead_one_has_what_the_ledger_says_is_left(tmp_path):
    """Seen were three calls; five are booked."""
    async with a_company(tmp_path / "home") as company:
        company.write(told(calls=3, completed=2), GONE)
        company.write(told(calls=1, ending=SHARE))
        company.on_death = lambda dead: book(company.service, dead.number, 5)
        await company.run(1, max_calls=6)

    assert [one.options.max_calls for one in company.orders] == [6, 1]


def book(service, pid: int, calls: int) -> None:
    """So many calls in flight of that process."""
    now = service.time.now()
    with service.database.transaction() as connection:
        account_id = accounts.account(connection, "espai", "f")
        runner_id = runners.begin(
            connection, account_id, host=presence.host(), pid=pid, lock="x", now=now
        )
        for _ in range(calls):
            connection.execute(
                entries.insert().values(
                    account_id=account_id,
                    runner_id=runner_id,
                    credits=1,
                    state="reserved",
                    reserved_at=now,
                )
            )


async def test_a_job_of_another_host_and_a_paused_one_are_no_runners_concern(tmp_path):
    home = tmp_path / "home"
    async with a_company(home) as company:
        submit(company.service, home, "de")
        submit(company.service, home, "fg")
        with company.service.database.transaction() as connection:
            connection.execute(
                update(jobs).where(jobs.c.id == 2).values(host="https://b.example")
            )
            connection.execute(
                update(jobs)
                .where(jobs.c.id == 3)
                .values(paused_at=company.service.time.now())
            )
        company.write(ANSWERED, told(completed=1, ending=DONE))
        outcome = await company.run(1)

    (order,) = company.orders
    assert order.job_ids == (1,)
    assert list(outcome.skipped) == ["job 2"]
    assert outcome.exit_code == 78


async def test_trouble_of_one_ends_all_and_is_the_runs_own(tmp_path):
    lost = Trouble("the database was removed", 1)
    async with a_company(tmp_path / "home") as company:
        company.write(
            ANSWERED, told(completed=1, ending=Ending(exit_code=1)), trouble=lost
        )
        company.write(*[ANSWERED] * 5)
        with pytest.raises(RunnerError, match="the database was removed") as caught:
            await company.run(2)

    assert caught.value.exit_code == 1
    assert company.players[1].words[-1].endings


async def test_a_notice_is_told_once_though_all_come_upon_it(tmp_path):
    ends = (ANSWERED, ANSWERED, told(completed=1, ending=DONE))
    async with a_company(tmp_path / "home") as company:
        company.write(*ends, notices=["the clock jumped", "balance", "balance"])
        company.write(*ends, notices=["the clock jumped"])
        await company.run(2)

    assert company.notes == ["the clock jumped", "balance", "balance"]


async def test_a_runner_elsewhere_is_refused_where_the_database_is_a_file(tmp_path):
    far = Machine("far-away", "another-boot")
    async with a_company(tmp_path / "home") as company:
        company.write(facts={"machine": far})
        company.write(facts={"machine": far})
        with pytest.raises(RunnerError, match="was placed on far-away") as caught:
            await company.run(2)

    assert caught.value.exit_code == 2
    assert "--db" in str(caught.value)
    assert company.orders == []


async def test_another_version_is_refused(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(facts={"version": "0.0.1"})
        with pytest.raises(RunnerError, match=r"has quotabatch 0\.0\.1"):
            await company.run(1)


async def test_a_runner_without_a_place_is_told_and_waited_for_by_nobody(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.is_full = True
        company.write(*[ANSWERED] * 100, told(completed=1, ending=DONE), finishes=True)
        company.write(never=True)
        outcome = await company.run(2)

    assert outcome.exit_code == 0
    assert company.notes == [
        "1 of 2 runners waits for a place: each takes a CPU, and of the cluster's 2 "
        "none is free."
    ]


async def test_without_a_place_for_anybody_the_run_ends(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.is_full = True
        company.write(never=True)
        company.write(never=True)
        with pytest.raises(RunnerError, match="has no place for a runner") as caught:
            await company.run(2)
        assert isinstance(company.service.clock, ManualClock)
        assert company.service.clock.monotonic() >= crew.NO_PLACE

    assert caught.value.exit_code == 69


async def test_runners_that_die_before_they_have_a_place_end_the_run(tmp_path):
    async with a_company(tmp_path / "home") as company:
        for _ in range(MOST_DEATHS):
            company.write(stillborn=True)
        with pytest.raises(RunnerError, match="its process is gone"):
            await company.run(1)


async def test_where_credits_are_gone_the_reset_is_told(tmp_path):
    async with a_company(tmp_path / "home") as company:
        at = company.service.time.now()
        gone = Ending(exit_code=75, resets_at=at)
        company.write(ANSWERED, told(completed=1, ending=DONE))
        company.write(ANSWERED, told(completed=1, ending=gone))
        outcome = await company.run(2)

    assert outcome.endings["espai"] == gone
    assert outcome.exit_code == 75
    assert at < FOREVER


async def test_without_a_key_nobody_is_placed(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.service.settings.environ.pop("ESPAI_API_KEY")
        outcome = await company.run(2)

    assert outcome.exit_code == 77
    assert "no key for espai" in outcome.skipped["espai"].message
    assert company.players == []


async def test_no_key_travels_to_a_runner(tmp_path):
    async with a_company(tmp_path / "home") as company:
        company.write(told(completed=1, ending=DONE))
        await company.run(1)

    (order,) = company.orders
    assert order.settings.environ == {}
    assert "sk-canary" not in repr(order)
    assert order.fingerprints["espai"] != "none"
