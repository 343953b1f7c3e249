"""The book of credits, as it is read: whose they are, and what was spent when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from batch.core.model import INVALID_CODE, EntryState, Failure
from batch.core.verdict import VerdictKind
from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine

#: Calls of an account that are looked through for the newest of a model.
NEWEST = 200
#: Entries that are looked at for failures in a row: some tell nothing, such as those of
#: calls that were not made.
LOOKED_AT = 30
_FAILED = frozenset({VerdictKind.RETRY, VerdictKind.FAIL})
#: Providers and fingerprints by which earlier versions knew an account.
Former: TypeAlias = Sequence[tuple[str, str]]


def accounts_of(connection: AnyConnection) -> list[AnyLine]:
    """The accounts that the ledger knows: id, provider, host, fingerprint."""
    return sql.rows(
        connection,
        "SELECT * FROM accounts "
        # One of an earlier version that was taken over is empty.
        "WHERE host <> '' OR EXISTS "
        "(SELECT entries.id FROM entries WHERE account_id = accounts.id) ORDER BY id",
    )


def account_of(
    connection: AnyConnection, host: str, fingerprint: str, former: Former
) -> int | None:
    """Return the account's id, by a former name where no run has used it since."""
    found = account_at(connection, host, fingerprint)
    before = [] if found else by_former_names(connection, former)
    return before[0] if before else found


def account_at(connection: AnyConnection, host: str, fingerprint: str) -> int | None:
    """Return the account of a key at a host."""
    query = "SELECT id FROM accounts WHERE host = :host AND fingerprint = :fingerprint"
    if not host:
        return None
    row = sql.row(connection, query, host=host, fingerprint=fingerprint)
    return None if row is None else int(row.id)


def by_former_names(connection: AnyConnection, former: Former) -> list[int]:
    """Return the accounts that earlier versions kept under these names."""
    query = (
        "SELECT id FROM accounts WHERE host = '' "
        "AND provider = :provider AND fingerprint = :fingerprint"
    )
    rows = [
        sql.row(connection, query, provider=provider, fingerprint=fingerprint)
        for provider, fingerprint in dict.fromkeys(former)
    ]
    return [int(row.id) for row in rows if row is not None]


def first_provider(
    connection: AnyConnection, host: str, fingerprint: str
) -> str | None:
    """Return the profile that the account was first used by."""
    query = (
        "SELECT provider FROM accounts "
        "WHERE host = :host AND fingerprint = :fingerprint"
    )
    row = sql.row(connection, query, host=host, fingerprint=fingerprint)
    return None if row is None or not host else str(row.provider)


def providers(connection: AnyConnection) -> list[str]:
    """Return the profiles that jobs name."""
    found = sql.rows(connection, "SELECT DISTINCT provider FROM jobs")
    return [str(row.provider) for row in found]


def reserved(connection: AnyConnection, account_id: int) -> int:
    """Credits reserved for calls that are in flight, or in doubt."""
    query = (
        "SELECT coalesce(sum(credits), 0) FROM entries "
        "WHERE account_id = :account_id AND state = 'reserved'"
    )
    return int(sql.scalar(connection, query, account_id=account_id))


def spent_between(
    connection: AnyConnection, account_id: int, after: datetime, until: datetime
) -> AnyLine:
    """What calls that ended in this stretch of time took: calls, credits, tokens."""
    names = ("calls", "credits", "tokens")
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in names)
    return sql.row(
        connection,
        f"SELECT {sums} FROM entries WHERE account_id = :account_id "
        "AND quota IS NULL AND state = :spent "
        "AND settled_at >= :after AND settled_at < :until",
        account_id=account_id,
        spent=EntryState.SPENT,
        after=after,
        until=until,
    )


def refused_between(
    connection: AnyConnection, account_id: int, after: datetime, until: datetime
) -> int:
    """Calls of this stretch that the endpoint refused as beyond a quota."""
    query = (
        "SELECT count(*) FROM entries JOIN errors ON errors.entry_id = entries.id "
        "WHERE account_id = :account_id "
        "AND settled_at >= :after AND settled_at < :until AND verdict = :exhausted"
    )
    return int(
        sql.scalar(
            connection,
            query,
            account_id=account_id,
            after=after,
            until=until,
            exhausted=VerdictKind.EXHAUSTED,
        )
    )


def first_spent(connection: AnyConnection, account_id: int) -> datetime | None:
    """When the account's first call ended."""
    found: datetime | None = sql.scalar(
        connection,
        "SELECT min(settled_at) AS settled_at FROM entries "
        "WHERE account_id = :account_id",
        account_id=account_id,
    )
    return found


def models_of(connection: AnyConnection, account_id: int) -> list[str]:
    """The models whose own windows the account has."""
    found = sql.rows(
        connection,
        "SELECT DISTINCT scope FROM windows "
        "WHERE account_id = :account_id AND scope LIKE 'model:%'",
        account_id=account_id,
    )
    return sorted(row.scope.removeprefix("model:") for row in found)


def newest_calls(
    connection: AnyConnection, account_id: int, most: int
) -> list[AnyLine]:
    """When the account's newest calls were made and ended, and what they cost."""
    return sql.rows(
        connection,
        "SELECT reserved_at, settled_at, credits, tokens FROM entries "
        "WHERE account_id = :account_id AND request_id IS NOT NULL "
        "AND state = :spent AND settled_at IS NOT NULL "
        "ORDER BY settled_at DESC LIMIT :most",
        account_id=account_id,
        spent=EntryState.SPENT,
        most=most,
    )


class Refusal(NamedTuple):
    """A refusal, and the evidence that decided its verdict."""

    failure: Failure
    because: str


def refusal_of(
    connection: AnyConnection, account_id: int, model: str
) -> Refusal | None:
    """Return the refusal that a model's newest call met, where no other can succeed.

    None where it met another end, or is not among the account's newest calls.
    """
    newest = sql.row(
        connection,
        "SELECT errors.code AS code, errors.message AS message, "
        "errors.status AS status, errors.endpoint_code AS endpoint_code, "
        "errors.because AS because, errors.verdict AS verdict FROM ("
        "SELECT id, model, settled_at FROM entries WHERE account_id = :account_id "
        "AND settled_at IS NOT NULL AND request_id IS NOT NULL AND state = 'spent' "
        "ORDER BY settled_at DESC LIMIT :most"
        ") AS newest LEFT JOIN errors ON errors.entry_id = newest.id "
        "WHERE newest.model = :model "
        "ORDER BY newest.settled_at DESC, newest.id DESC LIMIT 1",
        account_id=account_id,
        most=NEWEST,
        model=model,
    )
    if newest is None or newest.verdict != VerdictKind.STOP:
        return None
    failure = Failure(
        code=newest.code,
        message=newest.message,
        sent=True,
        status=newest.status,
        endpoint_code=newest.endpoint_code,
    )
    return Refusal(failure, newest.because or "")


class Failing(NamedTuple):
    """The failures of an account since its last answer."""

    #: How many, up to LOOKED_AT.
    number: int
    #: Of these, the calls that were made; the others never reached the service.
    sent: int
    #: The newest one's message.
    message: str


def failing(connection: AnyConnection, account_id: int, number: int) -> Failing | None:
    """Return the failures where the account's newest calls, so many or more, failed.

    None where one of these was answered, or there are fewer.
    """
    newest = sql.rows(
        connection,
        "SELECT entries.state AS state, errors.code AS code, "
        "errors.verdict AS verdict, errors.message AS message "
        "FROM entries LEFT JOIN errors ON errors.entry_id = entries.id "
        "WHERE account_id = :account_id AND settled_at IS NOT NULL "
        "AND request_id IS NOT NULL "
        "ORDER BY settled_at DESC, entries.id DESC LIMIT :most",
        account_id=account_id,
        most=LOOKED_AT,
    )
    failed: list[AnyLine] = []
    for row in newest:
        if row.verdict in _FAILED and row.code != INVALID_CODE:
            failed.append(row)
        elif row.state == EntryState.SPENT and row.code in (None, INVALID_CODE):
            break
    if len(failed) < number:
        return None
    sent = sum(row.state == EntryState.SPENT for row in failed)
    return Failing(len(failed), sent, str(failed[0].message))
