"""Every kind of window: scopes, units, levels, prices, evidence, and clocks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

#: SQLite gives a rowid only to a column of type INTEGER.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: UTC milliseconds.
MOMENT = sa.BigInteger()


def upgrade() -> None:
    op.add_column("accounts", sa.Column("quotas", sa.Text()))
    op.add_column("jobs", sa.Column("due_at", MOMENT))
    op.add_column("jobs", sa.Column("daily_cap", sa.Integer()))
    op.add_column(
        "jobs",
        sa.Column("models", sa.Text(), nullable=False, server_default="[]"),
    )
    _windows()
    _entries()
    op.add_column("errors", sa.Column("because", sa.Text()))
    _tables()


def _windows() -> None:
    with op.batch_alter_table("windows") as windows:
        windows.drop_constraint(
            "uq_windows_account_id_quota_resets_at_starts_at", type_="unique"
        )
        # Nobody asks any more what a window had when it was opened.
        windows.drop_column("carried")
        for column in (
            sa.Column("scope", sa.Text(), nullable=False, server_default=sa.text("''")),
            sa.Column("kind", sa.Text(), nullable=False, server_default="day"),
            sa.Column("unit", sa.Text(), nullable=False, server_default="credits"),
            sa.Column("period", sa.BigInteger()),
            sa.Column("stated_limit", sa.Integer()),
            sa.Column("level", sa.Float(), nullable=False, server_default="0"),
            sa.Column("level_at", MOMENT),
            sa.Column("refused_at", MOMENT),
            sa.Column(
                "unproven", sa.Boolean(), nullable=False, server_default=sa.false()
            ),
            sa.Column("probing_until", MOMENT),
        ):
            windows.add_column(column)
        windows.create_unique_constraint(
            "uq_windows_account_id_quota_scope_kind_resets_at_starts_at",
            ["account_id", "quota", "scope", "kind", "resets_at", "starts_at"],
        )
    op.create_index(
        "ix_windows_unproven",
        "windows",
        ["account_id"],
        sqlite_where=sa.text("unproven = 1"),
        postgresql_where=sa.text("unproven = true"),
    )


def _entries() -> None:
    op.add_column("entries", sa.Column("quota", sa.Text()))
    op.add_column("entries", sa.Column("model", sa.Text()))
    for name, default in (("calls", "1"), ("tokens", "0")):
        op.add_column(
            "entries",
            sa.Column(name, sa.Integer(), nullable=False, server_default=default),
        )
    # What was booked by the user stands for as many calls.
    op.execute("UPDATE entries SET calls = credits WHERE request_id IS NULL")
    op.drop_index("ix_entries_account_id_reserved_at", "entries")
    op.create_index(
        "ix_entries_account_id_settled_at", "entries", ["account_id", "settled_at"]
    )


def _tables() -> None:
    op.create_table(
        "estimates",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("characters", sa.Float(), nullable=False),
        sa.Column("characters_off", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("tokens_off", sa.Float(), nullable=False),
        sa.Column("error", sa.Float(), nullable=False),
        sa.Column("tokens_error", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_estimates_account_id"
        ),
        sa.PrimaryKeyConstraint("account_id", "model", name="pk_estimates"),
    )
    op.create_table(
        "resets",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("quota", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("assumed", sa.Text(), nullable=False),
        sa.Column("refused_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_resets_account_id"
        ),
        sa.PrimaryKeyConstraint("account_id", "quota", "scope", name="pk_resets"),
    )
    op.create_table(
        "evidence",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("quota", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_evidence_account_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_account_id_id", "evidence", ["account_id", "id"])
    op.create_table(
        "clocks",
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("booted_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("boot", name="pk_clocks"),
    )
