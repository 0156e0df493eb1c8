"""Who may call, who did what, and how many holds are open.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Tokens get their revision here and not in the program, so that a change by hand takes effect too. The row lock on the
# counter makes revisions grow in the order of commits: a reader that asks for newer ones misses none.
REVISE = """
CREATE FUNCTION revise_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE EXCEPTION 'a token that was revoked stays revoked' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE token_revisions SET revision = revision + 1 RETURNING revision INTO NEW.revision;
    RETURN NEW;
END $$;
CREATE TRIGGER tokens_revised BEFORE INSERT OR UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION revise_token();
"""

# What is written once stays, whoever asks: a superuser can switch this off, and is found by `gatekeeper verify --audit`.
APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: its rows are written once', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""
WRITTEN_ONCE = ("executions", "denials", "audit_events", "audit_chain")
REFUSE = """
CREATE TRIGGER {table}_written_once BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


FENCED = [("reservations", "caller"), *(("denials", column) for column in ("caller", "actor", "actor_role", "peer"))]


def upgrade() -> None:
    """Make the tables of callers and of the audit trail."""
    op.create_table(
        "audit_chain",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("source IN ('EVENT', 'DENIAL')", name=op.f("audit_chain_source_known")),
        sa.CheckConstraint("octet_length(link) = 32", name=op.f("audit_chain_link_is_sha_256")),
        sa.CheckConstraint("sequence > 0", name=op.f("audit_chain_sequence_from_1")),
        sa.PrimaryKeyConstraint("organization", "sequence", name=op.f("audit_chain_pkey")),
        comment="The order of audit events and denials; each link is the hash of the one before it and of a row's seal.",
    )
    op.create_index("audit_chain_source_idx", "audit_chain", ["organization", "source", "source_id"], unique=True)
    op.create_table(
        "audit_events",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(seal) = 36", name=op.f("audit_events_seal_is_one")),
        sa.PrimaryKeyConstraint("organization", "event_id", name=op.f("audit_events_pkey")),
        comment="Every change: who, from where, when, what before and after, why. An empty organization: the installation.",
    )
    op.create_index(
        "audit_events_newest_idx", "audit_events", ["organization", "occurred_at", "event_id"], unique=False
    )
    op.create_table(
        "audit_heads",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organization", name=op.f("audit_heads_pkey")),
        comment="The last link of each chain. Whoever chains locks the row.",
    )
    op.create_table(
        "open_holds",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("holds", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("holds >= 0", name=op.f("open_holds_holds_not_negative")),
        sa.PrimaryKeyConstraint("organization", "caller", name=op.f("open_holds_pkey")),
        comment="How many holds are open: of each caller, and of all (caller empty).",
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "token_revisions",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("token_revisions_one_row")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("token_revisions_pkey")),
        comment="The newest revision of a token. Its row lock puts changes of tokens one after another.",
    )
    op.create_table(
        "token_uses",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization", "token_id", name=op.f("token_uses_pkey")),
        comment="When tokens were last used, within some seconds.",
    )
    op.create_table(
        "tokens",
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=True),
        sa.Column("scope_id", sa.Text(), nullable=True),
        sa.Column("identity", sa.Text(), server_default="", nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(role = 'OPERATOR') = (organization = '')", name=op.f("tokens_only_operators_have_all")),
        sa.CheckConstraint("name <> ''", name=op.f("tokens_named")),
        sa.CheckConstraint("role IN ('AGENT', 'VIEWER', 'ADMIN', 'OPERATOR')", name=op.f("tokens_role_known")),
        sa.CheckConstraint(
            "scope_kind IS NULL OR (role = 'AGENT' AND scope_kind IN ('CAMPAIGN', 'AGENT') AND scope_id <> '')",
            name=op.f("tokens_only_agents_are_narrowed"),
        ),
        sa.CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name=op.f("tokens_scope_whole")),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("tokens_digest_is_sha_256")),
        sa.PrimaryKeyConstraint("organization", "token_id", name=op.f("tokens_pkey")),
        comment="Who may call. Rows are never deleted; their revision is set by a trigger, in the order of commits.",
    )
    op.create_index(
        "tokens_digest_idx", "tokens", ["digest"], unique=True, postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.create_index(
        "tokens_name_idx",
        "tokens",
        ["organization", "name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_index("tokens_revision_idx", "tokens", ["revision"], unique=False)
    op.add_column("denials", sa.Column("caller", sa.Text(), server_default="", nullable=False))
    op.add_column("denials", sa.Column("actor", sa.Text(), server_default="", nullable=False))
    op.add_column("denials", sa.Column("actor_role", sa.Text(), server_default="", nullable=False))
    op.add_column("denials", sa.Column("peer", sa.Text(), server_default="", nullable=False))
    op.add_column("denials", sa.Column("seal", sa.LargeBinary(), nullable=True))
    op.add_column("reservations", sa.Column("caller", sa.Text(), server_default="", nullable=False))
    op.create_check_constraint(op.f("denials_seal_is_one"), "denials", "octet_length(seal) = 36")
    # Rows of before have nobody's name. A server of before must write no more: it would neither count holds nor seal.
    for table, column in FENCED:
        op.alter_column(table, column, server_default=None)
    op.execute("INSERT INTO token_revisions (revision) VALUES (0)")
    op.execute(
        "INSERT INTO open_holds SELECT organization, '', count(*) FROM reservations WHERE state = 'HELD' GROUP BY 1"
    )
    op.execute(REVISE)
    op.execute(APPEND_ONLY)
    for table in WRITTEN_ONCE:
        op.execute(REFUSE.format(table=table))


def downgrade() -> None:
    """Remove them."""
    for table in WRITTEN_ONCE:
        op.execute(f"DROP TRIGGER {table}_written_once ON {table}")
        op.execute(f"DROP TRIGGER {table}_not_emptied ON {table}")
    op.execute("DROP FUNCTION refuse_change")
    op.drop_column("reservations", "caller")
    op.drop_constraint(op.f("denials_seal_is_one"), "denials")
    op.drop_column("denials", "seal")
    op.drop_column("denials", "peer")
    op.drop_column("denials", "actor_role")
    op.drop_column("denials", "actor")
    op.drop_column("denials", "caller")
    op.drop_index("tokens_revision_idx", table_name="tokens")
    op.drop_index("tokens_name_idx", table_name="tokens", postgresql_where=sa.text("revoked_at IS NULL"))
    op.drop_index("tokens_digest_idx", table_name="tokens", postgresql_where=sa.text("revoked_at IS NULL"))
    op.drop_table("tokens")
    op.drop_table("token_uses")
    op.drop_table("token_revisions")
    op.drop_table("open_holds")
    op.drop_table("audit_heads")
    op.drop_index("audit_events_newest_idx", table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_index("audit_chain_source_idx", table_name="audit_chain")
    op.drop_table("audit_chain")
    op.execute("DROP FUNCTION revise_token")
