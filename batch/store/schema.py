"""The tables. Times are UTC milliseconds; states are the words of core.model.

Counts are derived: `jobs.total` less what stands in the two partial indices gives the
completed ones, so that `status` reads no table from end to end. `jobs.attempts` and
`jobs.credits` are tallies that change in the transaction of the entries they count.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    literal_column,
    text,
    true,
)

from batch.store.sql import MAY_BE_CUT, from_stored, to_stored

#: A row of any query.
AnyRow = Row[*tuple[Any, ...]]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole milliseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else to_stored(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else from_stored(value)


#: SQLite gives a rowid only to a column of type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
#: What adds up over a job, or is counted in tokens. SQLite's integers have no size.
Count = BigInteger().with_variant(Integer(), "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    # The profile that it was first used by; others of the same host and key share it.
    Column("provider", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    # The terms of the quotas whose windows its last writer kept up to date; null: the
    # next writer counts them anew.
    Column("quotas", Text),
    # Scheme, host and port; empty in what comes of an earlier version, until its use.
    Column("host", Text, nullable=False, server_default=text("''")),
)
Index(
    "ix_accounts_host_fingerprint",
    accounts.c.host,
    accounts.c.fingerprint,
    unique=True,
    sqlite_where=accounts.c.host != literal_column("''"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("columns", Text, nullable=False),
    Column("total", Count, nullable=False),
    Column("duplicates", Count, nullable=False),
    Column("attempts", Count, nullable=False),
    Column("credits", Count, nullable=False),
    # The stretch of requests that its own lie in: export reads just that.
    Column("first_id", Id, nullable=False),
    Column("last_id", Id, nullable=False),
    Column("created_at", Moment, nullable=False),
    # While it is being submitted, the lock that the submission holds: until then the
    # job is nowhere to be seen.
    Column("submission", Text),
    Column("paused_at", Moment),
    Column("due_at", Moment),
    Column("daily_cap", Count),
    # The models that its rows name themselves, a JSON list.
    Column("models", Text, nullable=False, server_default="[]"),
    # What its rows are rendered with, a JSON object; null where an earlier version
    # submitted it.
    Column("template", Text),
    # What its answers must satisfy, and what becomes of one that does not; null where
    # nothing is expected of them.
    Column("schema", Text),
    Column("on_invalid", Text),
    # Requests that took the answer of an earlier job's.
    Column("reused", Count, nullable=False, server_default="0"),
    # The host that first answered it; null: none has since this is stored.
    Column("host", Text),
    # A job's number is printed and noted down: it is never given twice.
    sqlite_autoincrement=True,
)

requests = Table(
    "requests",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("number", Count, nullable=False),
    Column("custom_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("model", Text),
    Column("params", Text),
    Column("input", Text, nullable=False),
    # A JSON list, or the name of the column of `input` that holds them.
    Column("messages", Text, nullable=False),
    # The runner that holds it; only while running.
    Column("runner_id", Id),
    # The identical request that is asked in its place.
    Column("same_as", Id),
    UniqueConstraint("job_id", "custom_id"),
)
PENDING = requests.c.state == literal_column("'pending'")
#: The few that are neither waiting nor answered. Queries must use this very clause:
#: SQLite takes a partial index only where it finds the index's own condition.
ASIDE = requests.c.state.in_(
    [literal_column(f"'{state}'") for state in ("running", "failed", "cancelled")]
)
# Conditions are told for SQLite alone, since to tell one for a server loads all that
# SQLAlchemy has for it; the migrations make the same indices on both.
Index(
    "ix_requests_pending",
    requests.c.job_id,
    # In the index only so that it covers a count.
    requests.c.state,
    requests.c.same_as,
    # The order of claims: those that were never tried come first.
    requests.c.attempts,
    requests.c.failures,
    requests.c.id,
    sqlite_where=PENDING,
)
Index(
    "ix_requests_aside",
    requests.c.job_id,
    requests.c.state,
    requests.c.id,
    sqlite_where=ASIDE,
)
Index(
    "ix_requests_runner_id",
    requests.c.runner_id,
    sqlite_where=requests.c.runner_id.is_not(None),
)
Index(
    "ix_requests_same_as",
    requests.c.same_as,
    sqlite_where=requests.c.same_as.is_not(None),
)

results = Table(
    "results",
    metadata,
    Column("request_id", Id, ForeignKey("requests.id"), primary_key=True),
    Column("text", Text),
    Column("finish_reason", Text),
    Column("model", Text),
    Column("usage", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("finished_at", Moment, nullable=False),
    Column("reasoning", Text),
    # A JSON list.
    Column("tool_calls", Text),
    # Whether it stands only until the next answer: another was asked for.
    Column("provisional", Boolean, nullable=False, server_default=false()),
    # Whether it is what the job expects, and why not; null: nothing was expected.
    Column("valid", Boolean),
    Column("invalid", Text),
    # The digest of what was asked, see core.asked; null in what came before it.
    Column("asked", LargeBinary),
    # The request whose answer it was first: JOB:CUSTOM_ID.
    Column("reused", Text),
    # The entry of the call that brought the answer; null where it is not known.
    Column("entry_id", Id),
)
PROVISIONAL = results.c.provisional == true()
INVALID = results.c.valid == false()
Index(
    "ix_results_asked",
    results.c.asked,
    sqlite_where=results.c.asked.is_not(None),
)
Index(
    "ix_results_invalid",
    results.c.request_id,
    sqlite_where=INVALID,
)
# Those that were cut are among the few others.
Index(
    "ix_results_finish_reason",
    results.c.request_id,
    results.c.finish_reason,
    sqlite_where=text(MAY_BE_CUT),
)

runners = Table(
    "runners",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    # The name of the lock file that its process holds for as long as it lives.
    Column("lock", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    Column("ended_at", Moment),
    sqlite_autoincrement=True,
)
Index(
    "ix_runners_live",
    runners.c.id,
    sqlite_where=runners.c.ended_at.is_(None),
)

windows = Table(
    "windows",
    metadata,
    Column("id", Id, primary_key=True),
    # Of a job's own: that which opened it; calls on any account count in it.
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("quota", Text, nullable=False),
    # Of whom, where it is not the whole account: "model:…" or "job:…".
    Column("scope", Text, nullable=False, server_default=text("''")),
    Column("kind", Text, nullable=False, server_default="day"),
    Column("unit", Text, nullable=False, server_default="credits"),
    # Milliseconds; only where the kind has one.
    Column("period", BigInteger),
    Column("starts_at", Moment, nullable=False),
    Column("resets_at", Moment, nullable=False),
    # The limit in force, and what the endpoint stated where that is less.
    Column("limit", Count, nullable=False),
    Column("stated_limit", Count),
    # What was taken, what is still reserved included: the gate.
    Column("used", Count, nullable=False),
    # The level of a refill without what is reserved, and of when it is.
    Column("level", Float, nullable=False, server_default="0"),
    Column("level_at", Moment),
    # How often the endpoint said that it was used up, and until when we believe it.
    Column("refusals", Integer, nullable=False),
    Column("refused_at", Moment),
    Column("closed_until", Moment),
    Column("closed_reason", Text),
    # Whether calls are made one at a time until one is answered, and until when one
    # is under way.
    Column("unproven", Boolean, nullable=False, server_default=false()),
    Column("probing_until", Moment),
    # Its order serves the question of which windows bind now.
    UniqueConstraint("account_id", "quota", "scope", "kind", "resets_at", "starts_at"),
)
UNPROVEN = windows.c.unproven == true()
Index(
    "ix_windows_unproven",
    windows.c.account_id,
    sqlite_where=UNPROVEN,
)

entries = Table(
    "entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # Null for credits that were spent elsewhere and booked by the user.
    Column("request_id", Id),
    Column("runner_id", Id),
    # Null where it was taken from every quota, as a call is.
    Column("quota", Text),
    Column("model", Text),
    # Reserved by an estimate, settled by what it was.
    Column("calls", Count, nullable=False, server_default="1"),
    Column("credits", Count, nullable=False),
    Column("tokens", Count, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("reserved_at", Moment, nullable=False),
    Column("settled_at", Moment),
    Column("note", Text),
)
RESERVED = entries.c.state == literal_column("'reserved'")
Index(
    "ix_entries_reserved",
    entries.c.account_id,
    sqlite_where=RESERVED,
)
Index("ix_entries_request_id", entries.c.request_id)
# What a window that opens late, or anew, or that rolls, has to count.
Index(
    "ix_entries_account_id_settled_at",
    entries.c.account_id,
    entries.c.settled_at,
)

#: Why an attempt failed; an entry without a line here brought the answer.
errors = Table(
    "errors",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("status", Integer),
    Column("endpoint_code", Text),
    Column("verdict", Text, nullable=False),
    # What decided the verdict.
    Column("because", Text),
    Column("partial", Text),
)

#: What answers of a model were like so far; see core.price.Learned.
estimates = Table(
    "estimates",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("calls", Count, nullable=False),
    Column("characters", Float, nullable=False),
    Column("characters_off", Float, nullable=False),
    Column("tokens", Float, nullable=False),
    Column("tokens_off", Float, nullable=False),
    Column("error", Float, nullable=False),
    Column("tokens_error", Float, nullable=False),
)

#: Where a reset was found to be that had been assumed elsewhere.
resets = Table(
    "resets",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    Column("quota", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    # What was assumed then; where the user assumes another, this is of no use.
    Column("assumed", Text, nullable=False),
    # It came after the last refusal and before the first answer.
    Column("refused_at", Moment, nullable=False),
    Column("answered_at", Moment, nullable=False),
)

#: Why the ledger does what it does: one line for every decision.
evidence = Table(
    "evidence",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("at", Moment, nullable=False),
    # Empty where it concerns no quota alone.
    Column("quota", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("text", Text, nullable=False),
)
Index("ix_evidence_account_id_id", evidence.c.account_id, evidence.c.id)

#: A machine's clocks, since its boot: how far the wall clock was from the other one
#: when both were last believed.
clocks = Table(
    "clocks",
    metadata,
    Column("boot", Text, primary_key=True),
    # When this boot was, by the wall clock; wall time less time since boot.
    Column("booted_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    # The newest confirmed time at which the wall clock agreed: what was dated before
    # is dated right.
    Column("agreed_at", Moment),
)

#: Numbers that must outlive the rows they came from: "requests" is the highest id of
#: any request that was deleted.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Id, nullable=False),
)

#: When each boot was, by the wall clock that its entries are dated by, and whether an
#: endpoint has confirmed it.
datings = Table(
    "datings",
    metadata,
    Column("boot", Text, primary_key=True),
    Column("booted_at", Moment, nullable=False),
    Column("confirmed", Boolean, nullable=False),
)
