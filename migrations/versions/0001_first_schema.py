"""The first schema: accounts, jobs, requests, results, runners and the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

#: SQLite gives a rowid only to a column of type INTEGER.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: UTC milliseconds.
MOMENT = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint(
            "provider", "fingerprint", name="uq_accounts_provider_fingerprint"
        ),
    )
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("first_id", ID, nullable=False),
        sa.Column("last_id", ID, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("submission", sa.Text(), nullable=True),
        sa.Column("paused_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "entries",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("request_id", ID, nullable=True),
        sa.Column("runner_id", ID, nullable=True),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reserved_at", MOMENT, nullable=False),
        sa.Column("settled_at", MOMENT, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_entries_account_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
    )
    op.create_index(
        "ix_entries_account_id_reserved_at", "entries", ["account_id", "reserved_at"]
    )
    op.create_index("ix_entries_request_id", "entries", ["request_id"])
    op.create_index(
        "ix_entries_reserved",
        "entries",
        ["account_id"],
        sqlite_where=sa.text("state = 'reserved'"),
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_table(
        "requests",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("params", sa.Text(), nullable=True),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("messages", sa.Text(), nullable=False),
        sa.Column("runner_id", ID, nullable=True),
        sa.Column("same_as", ID, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_requests_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint("job_id", "custom_id", name="uq_requests_job_id_custom_id"),
    )
    op.create_index(
        "ix_requests_aside",
        "requests",
        ["job_id", "state", "id"],
        sqlite_where=sa.text("state IN ('running', 'failed', 'cancelled')"),
        postgresql_where=sa.text("state IN ('running', 'failed', 'cancelled')"),
    )
    op.create_index(
        "ix_requests_pending",
        "requests",
        ["job_id", "state", "same_as", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_requests_runner_id",
        "requests",
        ["runner_id"],
        sqlite_where=sa.text("runner_id IS NOT NULL"),
        postgresql_where=sa.text("runner_id IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_same_as",
        "requests",
        ["same_as"],
        sqlite_where=sa.text("same_as IS NOT NULL"),
        postgresql_where=sa.text("same_as IS NOT NULL"),
    )
    op.create_table(
        "runners",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("lock", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_runners_account_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_runners"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_runners_live",
        "runners",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "windows",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("quota", sa.Text(), nullable=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("resets_at", MOMENT, nullable=False),
        sa.Column("limit", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("carried", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("closed_until", MOMENT, nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_windows_account_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_windows"),
        sa.UniqueConstraint(
            "account_id",
            "quota",
            "resets_at",
            "starts_at",
            name="uq_windows_account_id_quota_resets_at_starts_at",
        ),
    )
    op.create_table(
        "errors",
        sa.Column("entry_id", ID, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("endpoint_code", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("partial", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.id"], name="fk_errors_entry_id"
        ),
        sa.PrimaryKeyConstraint("entry_id", name="pk_errors"),
    )
    op.create_table(
        "results",
        sa.Column("request_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name="fk_results_request_id"
        ),
        sa.PrimaryKeyConstraint("request_id", name="pk_results"),
    )
