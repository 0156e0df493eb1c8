"""Invoices, what they say of buyers, and executions added up for reports.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What is written once stays, as in 0002.
WRITTEN_ONCE = ("invoices", "invoice_spans", "invoice_files")
REFUSE = """
CREATE TRIGGER {table}_written_once BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Make the tables of rollups and invoices. Calls wait for a moment, while their organizations get a column."""
    op.add_column("organizations", sa.Column("billed_until", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "billing_profiles",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("legal_name", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("city", sa.Text(), server_default="", nullable=False),
        sa.Column("postal_code", sa.Text(), server_default="", nullable=False),
        sa.Column("country", sa.Text(), server_default="", nullable=False),
        sa.Column("vat_id", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.Column("tax_rate_percent", sa.Numeric(precision=6, scale=4), server_default=sa.text("0"), nullable=False),
        sa.Column("tax_category", sa.Text(), server_default="NOT_SUBJECT", nullable=False),
        sa.Column("tax_note", sa.Text(), server_default="", nullable=False),
        sa.Column("payment_days", sa.Integer(), server_default=sa.text("30"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "tax_category = 'STANDARD' OR tax_rate_percent = 0", name=op.f("billing_profiles_only_standard_has_a_rate")
        ),
        sa.CheckConstraint(
            "tax_category IN ('STANDARD', 'ZERO', 'EXEMPT', 'REVERSE_CHARGE', 'NOT_SUBJECT')",
            name=op.f("billing_profiles_tax_category_known"),
        ),
        sa.CheckConstraint("payment_days BETWEEN 0 AND 365", name=op.f("billing_profiles_payment_days_in_a_year")),
        sa.CheckConstraint(
            "tax_rate_percent >= 0 AND tax_rate_percent < 100", name=op.f("billing_profiles_tax_rate_is_a_share")
        ),
        sa.PrimaryKeyConstraint("organization", name=op.f("billing_profiles_pkey")),
        comment="What an organization's invoices say of the buyer, of tax and of payment.",
    )
    op.create_table(
        "invoice_files",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("rendered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(content_hash) = 32", name=op.f("invoice_files_content_hash_is_one")),
        sa.PrimaryKeyConstraint("organization", "number", "format", name=op.f("invoice_files_pkey")),
        comment="Files of issued invoices as they were first rendered: written once, never changed.",
    )
    op.create_table(
        "invoice_spans",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("recorded_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_before", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("recorded_from < recorded_before", name=op.f("invoice_spans_recorded_in_order")),
        sa.PrimaryKeyConstraint("organization", "number", "period", "recorded_from", name=op.f("invoice_spans_pkey")),
        comment="Which executions are on an invoice: those of a month that were recorded between two instants.",
    )
    op.create_table(
        "invoices",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("correction", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("credited_number", sa.Text(), server_default="", nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("ledger_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("net_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("tax_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'CREDIT_NOTE') = (credited_number <> '')", name=op.f("invoices_credit_notes_name_their_invoice")
        ),
        sa.CheckConstraint("kind IN ('INVOICE', 'CREDIT_NOTE')", name=op.f("invoices_kind_known")),
        sa.CheckConstraint("octet_length(content_hash) = 32", name=op.f("invoices_content_hash_is_one")),
        sa.CheckConstraint("sequence > 0", name=op.f("invoices_sequence_positive")),
        sa.PrimaryKeyConstraint("organization", "number", name=op.f("invoices_pkey")),
        comment="Invoices and credit notes as they were issued: written once, never changed.",
    )
    op.create_index(
        "invoices_credited_idx",
        "invoices",
        ["organization", "credited_number"],
        unique=True,
        postgresql_where=sa.text("kind = 'CREDIT_NOTE'"),
    )
    op.create_index("invoices_newest_idx", "invoices", ["organization", "issued_at", "number"], unique=False)
    op.create_index(
        "invoices_period_idx",
        "invoices",
        ["organization", "period", "correction"],
        unique=True,
        postgresql_where=sa.text("kind = 'INVOICE'"),
    )
    op.create_index("invoices_sequence_idx", "invoices", ["organization", "year", "sequence"], unique=True)
    op.create_table(
        "spend_marks",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("recorded_before", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization", name=op.f("spend_marks_pkey")),
        comment="Which executions the rollups of an organization hold: those with an earlier `committed_at`.",
    )
    op.create_table(
        "spend_rollups",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("department", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("override_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("conversions", sa.BigInteger(), nullable=False),
        sa.Column("quality_scores", sa.BigInteger(), nullable=False),
        sa.Column("impact_scores", sa.BigInteger(), nullable=False),
        sa.Column("latencies", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("reserved_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("overage_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("override_amount", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("revenue", sa.Numeric(precision=28, scale=9), nullable=False),
        sa.Column("quality_sum", sa.Double(), nullable=False),
        sa.Column("impact_sum", sa.Double(), nullable=False),
        sa.Column("latency_sum", sa.Interval(), nullable=False),
        sa.CheckConstraint("kind IN ('COMMIT', 'EXPIRY_CHARGE', 'REVERSAL')", name=op.f("spend_rollups_kind_known")),
        sa.CheckConstraint("entries > 0", name=op.f("spend_rollups_entries_positive")),
        sa.CheckConstraint("octet_length(key_hash) = 32", name=op.f("spend_rollups_key_hash_is_one")),
        sa.PrimaryKeyConstraint("organization", "month", "recorded_on", "key_hash", name=op.f("spend_rollups_pkey")),
        comment="Executions recorded before the organization's mark, added up. Derived: `gatekeeper verify` compares.",
    )
    for table in WRITTEN_ONCE:
        op.execute(REFUSE.format(table=table))


def downgrade() -> None:
    """Remove them. Refused once an invoice was issued: it must be kept."""
    if op.get_bind().execute(sa.text("SELECT EXISTS (SELECT FROM invoices)")).scalar():
        message = "invoices were issued, and must be kept: this schema stays"
        raise RuntimeError(message)
    op.drop_table("spend_rollups")
    op.drop_table("spend_marks")
    op.drop_index("invoices_sequence_idx", table_name="invoices")
    op.drop_index("invoices_period_idx", table_name="invoices", postgresql_where=sa.text("kind = 'INVOICE'"))
    op.drop_index("invoices_newest_idx", table_name="invoices")
    op.drop_index("invoices_credited_idx", table_name="invoices", postgresql_where=sa.text("kind = 'CREDIT_NOTE'"))
    op.drop_table("invoices")
    op.drop_table("invoice_spans")
    op.drop_table("invoice_files")
    op.drop_table("billing_profiles")
    op.drop_column("organizations", "billed_until")
