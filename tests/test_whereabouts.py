from __future__ import annotations

import contextlib
import json
import multiprocessing
import resource
import signal
import stat
from pathlib import Path

import pytest

from batch.address import server
from batch.errors import LedgerElsewhereError, StoreError
from batch.whereabouts import claim, move

ACCOUNT = "espai:0123abcd"


@pytest.fixture
def ledgers(tmp_path: Path) -> Path:
    return tmp_path / "home" / "ledgers.json"


def database(tmp_path: Path, name: str = "q.db") -> str:
    path = tmp_path / name
    path.touch()
    return str(path)


def test_the_first_database_holds_the_ledger(ledgers, tmp_path):
    mine = database(tmp_path)
    claim(ledgers, ACCOUNT, mine)
    claim(ledgers, ACCOUNT, mine)
    assert json.loads(ledgers.read_text()) == {ACCOUNT: mine}
    assert stat.S_IMODE(ledgers.stat().st_mode) == 0o600


def test_a_second_database_is_refused(ledgers, tmp_path):
    mine, other = database(tmp_path), database(tmp_path, "other.db")
    claim(ledgers, ACCOUNT, mine)
    with pytest.raises(LedgerElsewhereError) as error:
        claim(ledgers, ACCOUNT, other)
    said = str(error.value)
    assert said.startswith(
        f"the credits of {ACCOUNT} are counted in {mine}, not in {other}: "
    )
    assert "--db" in said
    assert "--separate-ledger" in said
    assert error.value.exit_code == 78
    # And it stays so.
    claim(ledgers, ACCOUNT, mine)
    with pytest.raises(LedgerElsewhereError):
        claim(ledgers, ACCOUNT, other)


def test_the_name_that_an_earlier_version_gave_an_account_still_counts(
    ledgers, tmp_path
):
    mine, other = database(tmp_path), database(tmp_path, "other.db")
    claim(ledgers, "a:1", mine)
    claim(ledgers, "b:2", other)
    with pytest.raises(LedgerElsewhereError, match=f"counted in {mine}"):
        claim(ledgers, "3 at https://host", other, ["a:1", "b:2"])
    claim(ledgers, "3 at https://host", mine, ["a:1", "b:2"])
    # Both names are one account from now on.
    with pytest.raises(LedgerElsewhereError, match=f"counted in {mine}"):
        claim(ledgers, "3 at https://host", other, ["b:2", "a:1"])


def test_accounts_are_apart(ledgers, tmp_path):
    mine, other = database(tmp_path), database(tmp_path, "other.db")
    claim(ledgers, ACCOUNT, mine)
    claim(ledgers, "espai:4567cdef", other)
    claim(ledgers, "mine:0123abcd", other)
    assert json.loads(ledgers.read_text()) == {
        ACCOUNT: mine,
        "espai:4567cdef": other,
        "mine:0123abcd": other,
    }


def test_a_database_that_is_gone_holds_nothing(ledgers, tmp_path):
    mine, other = database(tmp_path), database(tmp_path, "other.db")
    claim(ledgers, ACCOUNT, mine)
    Path(mine).unlink()
    claim(ledgers, ACCOUNT, other)
    assert json.loads(ledgers.read_text()) == {ACCOUNT: other}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{}\n"])
def test_a_file_that_says_nothing_is_written_anew(ledgers, tmp_path, content):
    ledgers.parent.mkdir()
    ledgers.write_bytes(content)
    mine = database(tmp_path)
    claim(ledgers, ACCOUNT, mine)
    assert json.loads(ledgers.read_text()) == {ACCOUNT: mine}


def test_a_longer_file_leaves_no_tail(ledgers, tmp_path):
    long = tmp_path / ("long" * 30)
    claim(ledgers, ACCOUNT, database(long.parent, long.name))
    long.unlink()
    short = database(tmp_path, "s")
    claim(ledgers, ACCOUNT, short)
    assert json.loads(ledgers.read_text()) == {ACCOUNT: short}


def _claimed(ledgers: Path, number: int, mine: str) -> bool:
    try:
        claim(ledgers, ACCOUNT, mine)
        claim(ledgers, f"account {number}", mine)
    except LedgerElsewhereError:
        return False
    return True


def test_of_several_that_start_at_once_one_wins(ledgers, tmp_path):
    databases = [database(tmp_path, f"{n}.db") for n in range(4)]
    tasks = [(ledgers, n, one) for n, one in enumerate(databases)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.starmap(_claimed, tasks)
        pool.close()
        pool.join()
    assert sum(won) == 1
    table = json.loads(ledgers.read_text())
    assert table[ACCOUNT] == databases[won.index(True)]
    assert len(table) == 2


@pytest.mark.parametrize("content", ["[]", "3", '{"espai:0123abcd": 3}'])
def test_a_file_of_another_shape_is_written_anew(ledgers, tmp_path, content):
    ledgers.parent.mkdir()
    ledgers.write_text(content)
    mine = database(tmp_path)
    claim(ledgers, ACCOUNT, mine)
    assert json.loads(ledgers.read_text()) == {ACCOUNT: mine}


def test_one_database_by_two_names_is_one(ledgers, tmp_path):
    mine = database(tmp_path)
    link = tmp_path / "link.db"
    link.symlink_to(mine)
    claim(ledgers, ACCOUNT, mine)
    claim(ledgers, ACCOUNT, str(link))


def test_a_ledger_that_has_moved_is_refused_where_it_was(ledgers, tmp_path):
    mine, other = database(tmp_path), database(tmp_path, "other.db")
    to = server("postgresql://me:secret@db.example.org/prompts", tmp_path)
    claim(ledgers, ACCOUNT, mine)
    claim(ledgers, "mine:4567cdef", other)
    assert move(ledgers, Path(mine), to) == [ACCOUNT]
    assert json.loads(ledgers.read_text()) == {
        ACCOUNT: "postgresql://db.example.org:5432/prompts",
        "mine:4567cdef": other,
    }
    claim(ledgers, ACCOUNT, to)
    with pytest.raises(LedgerElsewhereError, match=r"counted in postgresql://db\.ex"):
        claim(ledgers, ACCOUNT, mine)


def test_where_no_ledger_is_none_moves(ledgers, tmp_path):
    assert move(ledgers, tmp_path / "a.db", tmp_path / "b.db") == []
    assert not ledgers.exists()


def _without_room(ledgers: Path, other: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
    with contextlib.suppress(OSError, StoreError):
        claim(ledgers, "groq:89abcdef", other)


def test_where_there_is_no_room_what_was_written_down_stays(ledgers, tmp_path):
    claim(ledgers, ACCOUNT, database(tmp_path))
    before = ledgers.read_bytes()
    process = multiprocessing.get_context("fork").Process(
        target=_without_room, args=(ledgers, database(tmp_path, "other.db"))
    )
    process.start()
    process.join(60)
    assert ledgers.read_bytes() == before
    assert [path.name for path in ledgers.parent.iterdir()] == ["ledgers.json"]
