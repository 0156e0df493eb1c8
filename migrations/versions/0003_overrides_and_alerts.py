"""Overrides, alerts, floors by priority, and what the servers' own verification finds.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


HOT = ("organizations", "reservations", "open_holds", "budgets", "balances", "executions")
CHECKS = (
    ("balances", "overridden_not_negative", "overridden >= 0"),
    ("budgets", "floors_in_order", "1 <= floor_batch AND floor_batch <= floor_normal AND floor_normal <= 100"),
    ("executions", "override_named", "override_amount = 0 OR override_id <> ''"),
    ("reservations", "override_amount_not_negative", "override_amount >= 0"),
    ("reservations", "override_named", "override_amount = 0 OR override_id <> ''"),
    ("reservations", "priority_known", "priority IN ('CRITICAL', 'NORMAL', 'BATCH')"),
)


def upgrade() -> None:
    """Make the tables of overrides and alerts, and the columns that go with them.

    The tables of the hot path are locked first, in the order in which batches take them: batches under way end, others
    wait, and no lock is upgraded on the way, which would meet those of a batch.
    """
    op.execute(f"LOCK TABLE {', '.join(HOT)} IN ACCESS EXCLUSIVE MODE")
    op.create_table(
        "alert_deliveries",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "(state = 'DELIVERED') = (delivered_at IS NOT NULL)", name=op.f("alert_deliveries_delivered_once")
        ),
        sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name=op.f("alert_deliveries_state_known")),
        sa.CheckConstraint("attempts >= 0", name=op.f("alert_deliveries_attempts_not_negative")),
        sa.PrimaryKeyConstraint("organization", "alert_id", "channel", name=op.f("alert_deliveries_pkey")),
        comment="How far each alert has come on each channel.",
    )
    op.create_index(
        "alert_deliveries_due_idx",
        "alert_deliveries",
        ["channel", "organization", "next_attempt_at", "alert_id"],
        unique=False,
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index(
        "alert_deliveries_dead_idx",
        "alert_deliveries",
        ["organization", "alert_id"],
        postgresql_where=sa.text("state = 'DEAD'"),
    )
    op.create_table(
        "alert_channels",
        sa.Column("organization", sa.Text(), server_default="", nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization", "channel", name=op.f("alert_channels_pkey")),
        comment="Which channels the servers have, and when one last had each. They are the installation's.",
    )
    op.create_table(
        "installation",
        sa.Column("organization", sa.Text(), server_default="", nullable=False),
        sa.Column("installation_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("organization = ''", name=op.f("installation_one_row")),
        sa.PrimaryKeyConstraint("organization", name=op.f("installation_pkey")),
        comment="What this installation is called, so that ids which leave it are those of no other.",
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")
    op.create_table(
        "alerts",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope_kind", sa.Text(), server_default="", nullable=False),
        sa.Column("scope_id", sa.Text(), server_default="", nullable=False),
        sa.Column("budget_window", sa.Text(), server_default="", nullable=False),
        sa.Column("period", sa.Text(), server_default="", nullable=False),
        sa.Column("basis", sa.Text(), server_default="", nullable=False),
        sa.Column("threshold", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("round", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("cap", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
        sa.Column("spent", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
        sa.Column("reserved", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('THRESHOLD', 'RESOLVED', 'BURN_RATE', 'RUNAWAY', 'OVERRIDE_REQUESTED', 'VERIFICATION_FAILED',"
            " 'TEST')",
            name=op.f("alerts_kind_known"),
        ),
        sa.CheckConstraint("basis IN ('', 'SPENT', 'USED')", name=op.f("alerts_basis_known")),
        sa.PrimaryKeyConstraint("organization", "alert_id", name=op.f("alerts_pkey")),
        comment="What is told once: written in the transaction that it tells of. An empty organization: the installation.",
    )
    op.create_index(
        "alerts_once_idx",
        "alerts",
        [
            "organization",
            "kind",
            "scope_kind",
            "scope_id",
            "budget_window",
            "period",
            "basis",
            "threshold",
            "round",
            "subject",
        ],
        unique=True,
    )
    op.create_index(
        "alerts_waiting_idx", "alerts", ["alert_id"], unique=False, postgresql_where=sa.text("dispatched_at IS NULL")
    )
    op.create_table(
        "overrides",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("override_id", sa.Text(), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=True),
        sa.Column("scope_id", sa.Text(), nullable=True),
        sa.Column("reservation_id", sa.Text(), server_default="", nullable=False),
        sa.Column("max_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("reserved", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
        sa.Column("spent", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
        sa.Column("ttl", sa.Interval(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), server_default="", nullable=False),
        sa.Column("requested_by_id", sa.Text(), server_default="", nullable=False),
        sa.Column("granted_by", sa.Text(), server_default="", nullable=False),
        sa.Column("granted_by_id", sa.Text(), server_default="", nullable=False),
        sa.Column("approved_by", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_by", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bound_scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("terms_digest", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint(
            "(scope_kind = 'ORGANIZATION') = (scope_id = '')", name=op.f("overrides_only_organization_has_no_id")
        ),
        sa.CheckConstraint("(scope_kind IS NULL) = (reservation_id <> '')", name=op.f("overrides_one_target")),
        sa.CheckConstraint(
            "(state IN ('ENDED', 'DECLINED')) = (ended_at IS NOT NULL)", name=op.f("overrides_ended_once")
        ),
        sa.CheckConstraint("reason <> ''", name=op.f("overrides_explained")),
        sa.CheckConstraint(
            "scope_kind IN ('ORGANIZATION', 'DEPARTMENT', 'CAMPAIGN', 'AGENT', 'RUN')",
            name=op.f("overrides_scope_kind_known"),
        ),
        sa.CheckConstraint("state <> 'ACTIVE' OR granted_by <> ''", name=op.f("overrides_granted")),
        sa.CheckConstraint("state IN ('PENDING', 'ACTIVE', 'ENDED', 'DECLINED')", name=op.f("overrides_state_known")),
        sa.CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name=op.f("overrides_scope_whole")),
        sa.CheckConstraint("max_amount > 0", name=op.f("overrides_max_amount_positive")),
        sa.CheckConstraint("reserved + spent <= max_amount", name=op.f("overrides_not_overdrawn")),
        sa.CheckConstraint("reserved >= 0 AND spent >= 0", name=op.f("overrides_booked_not_negative")),
        sa.PrimaryKeyConstraint("organization", "override_id", name=op.f("overrides_pkey")),
        comment="Permissions to spend past caps, bounded in amount and time, and what they have paid.",
    )
    op.create_index("overrides_newest_idx", "overrides", ["organization", "created_at", "override_id"], unique=False)
    op.create_index(
        "overrides_open_idx",
        "overrides",
        ["organization", "state", "expires_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('PENDING', 'ACTIVE')"),
    )
    op.create_table(
        "verifications",
        sa.Column("organization", sa.Text(), server_default="", nullable=False),
        sa.Column("verification_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("differences", sa.BigInteger(), nullable=False),
        sa.Column("audit_differences", sa.BigInteger(), nullable=False),
        sa.Column("example", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("organization", "verification_id", name=op.f("verifications_pkey")),
        comment="What the servers' own verification has found. An empty organization: the whole installation.",
    )
    op.add_column(
        "balances",
        sa.Column("overridden", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("balances", sa.Column("alerted_spent", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("balances", sa.Column("alerted_used", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("balances", sa.Column("alert_round", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("budgets", sa.Column("floor_normal", sa.Integer(), server_default=sa.text("100"), nullable=False))
    op.add_column("budgets", sa.Column("floor_batch", sa.Integer(), server_default=sa.text("100"), nullable=False))
    op.add_column("executions", sa.Column("override_id", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "executions",
        sa.Column("override_amount", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("organizations", sa.Column("overrides_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reservations", sa.Column("priority", sa.Text(), server_default="NORMAL", nullable=False))
    op.add_column("reservations", sa.Column("override_id", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "reservations",
        sa.Column("override_amount", sa.Numeric(precision=28, scale=9), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "reservations",
        sa.Column(
            "override_parts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
    )
    op.create_index(
        "reservations_override_idx",
        "reservations",
        ["organization", "override_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("override_id <> ''"),
    )
    for table, name, condition in CHECKS:
        op.create_check_constraint(op.f(f"{table}_{name}"), table, condition)
    op.drop_constraint(op.f("balances_within_cap"), "balances")
    op.create_check_constraint(
        op.f("balances_within_cap"),
        "balances",
        "enforcement <> 'ENFORCE' OR spent + reserved <= cap + excess + overridden",
    )
    # A server of before must write no more: it would not book what overrides pay.
    op.alter_column("reservations", "priority", server_default=None)


def downgrade() -> None:
    """Remove them. Refused by the check on balances where overrides have paid for what stands above a cap."""
    op.drop_constraint(op.f("balances_within_cap"), "balances")
    op.create_check_constraint(
        op.f("balances_within_cap"), "balances", "enforcement <> 'ENFORCE' OR spent + reserved <= cap + excess"
    )
    for table, name, _ in CHECKS:
        op.drop_constraint(op.f(f"{table}_{name}"), table)
    op.drop_index("reservations_override_idx", table_name="reservations", postgresql_where=sa.text("override_id <> ''"))
    op.drop_column("reservations", "override_parts")
    op.drop_column("reservations", "override_amount")
    op.drop_column("reservations", "override_id")
    op.drop_column("reservations", "priority")
    op.drop_column("organizations", "overrides_until")
    op.drop_column("executions", "override_amount")
    op.drop_column("executions", "override_id")
    op.drop_column("budgets", "floor_batch")
    op.drop_column("budgets", "floor_normal")
    op.drop_column("balances", "alert_round")
    op.drop_column("balances", "alerted_used")
    op.drop_column("balances", "alerted_spent")
    op.drop_column("balances", "overridden")
    op.drop_table("verifications")
    op.drop_index(
        "overrides_open_idx", table_name="overrides", postgresql_where=sa.text("state IN ('PENDING', 'ACTIVE')")
    )
    op.drop_index("overrides_newest_idx", table_name="overrides")
    op.drop_table("overrides")
    op.drop_index("alerts_waiting_idx", table_name="alerts", postgresql_where=sa.text("dispatched_at IS NULL"))
    op.drop_index("alerts_once_idx", table_name="alerts")
    op.drop_table("alerts")
    op.drop_index(
        "alert_deliveries_due_idx", table_name="alert_deliveries", postgresql_where=sa.text("state = 'PENDING'")
    )
    op.drop_table("alert_deliveries")
    op.drop_table("alert_channels")
    op.drop_table("installation")
