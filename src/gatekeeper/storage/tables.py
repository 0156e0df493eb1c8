"""Which tables are there? The migrations create them; a test holds both together.

Every primary key begins with the organization, so that a distributed PostgreSQL can keep an organization's rows in
one place. There are no foreign keys between the tables of the hot path: all of them are written in the transaction
that holds the organization's row lock, `gatekeeper verify` checks what they would promise, and their triggers would
cost more than the writes themselves.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

MONEY = Numeric(28, 9)
SCOPE_KINDS = "scope_kind IN ('ORGANIZATION', 'DEPARTMENT', 'CAMPAIGN', 'AGENT', 'RUN')"
WINDOWS = "budget_window IN ('DAY', 'MONTH', 'TOTAL')"
ENFORCEMENTS = "enforcement IN ('ENFORCE', 'WARN', 'SHADOW')"
ORGANIZATION_SCOPE = "(scope_kind = 'ORGANIZATION') = (scope_id = '')"


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _instant(name: str, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), **{"nullable": False, **options})


def _money(name: str, **options: Any) -> Column[Any]:
    return Column(name, MONEY, **{"nullable": False, **options})


def _attribution() -> list[Column[str]]:
    return [_text(name) for name in ("department", "campaign", "agent", "run", "agent_type", "task", "model")]


def _who() -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in ("caller", "actor", "actor_role", "peer")]


def _labels() -> Column[Any]:
    return Column("labels", JSONB, nullable=False, server_default=text("'{}'"))


organizations = Table(
    "organizations",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("currency", CHAR(3), nullable=False, server_default="USD"),
    Column("time_zone", Text, nullable=False, server_default="UTC"),
    Column("expiry_policy", Text, nullable=False, server_default="RELEASE"),
    Column("known_scopes", Boolean, nullable=False, server_default=text("false")),
    _text("price_version"),
    _instant("created_at", server_default=func.now()),
    # When the last override that was turned on ends: until then, calls without room look for one.
    _instant("overrides_until", nullable=True),
    # Before when invoices have all that was recorded: the ledger's time does not step back behind it.
    _instant("billed_until", nullable=True),
    CheckConstraint("organization <> ''", name="named"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso_4217"),
    CheckConstraint("expiry_policy IN ('RELEASE', 'CHARGE')", name="expiry_policy_known"),
    comment="One row for each organization. Its lock is the lock on all of the organization's books.",
)

budgets = Table(
    "budgets",
    metadata,
    Column("organization", Text),
    Column("scope_kind", Text),
    Column("scope_id", Text),
    Column("budget_window", Text),
    _money("cap"),
    Column("enforcement", Text, nullable=False),
    Column("thresholds", ARRAY(Integer), nullable=False),
    Column("frozen", Boolean, nullable=False, server_default=text("false")),
    Column("floor_normal", Integer, nullable=False, server_default=text("100")),
    Column("floor_batch", Integer, nullable=False, server_default=text("100")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    _text("reason"),
    _instant("updated_at", server_default=func.now()),
    PrimaryKeyConstraint("organization", "scope_kind", "scope_id", "budget_window"),
    CheckConstraint("cap >= 0", name="cap_not_negative"),
    CheckConstraint("1 <= floor_batch AND floor_batch <= floor_normal AND floor_normal <= 100", name="floors_in_order"),
    CheckConstraint(SCOPE_KINDS, name="scope_kind_known"),
    CheckConstraint(ORGANIZATION_SCOPE, name="only_organization_has_no_id"),
    CheckConstraint(WINDOWS, name="window_known"),
    CheckConstraint(ENFORCEMENTS, name="enforcement_known"),
    comment="A cap on one scope over one window, standing until changed.",
)

balances = Table(
    "balances",
    metadata,
    Column("organization", Text),
    Column("scope_kind", Text),
    Column("scope_id", Text),
    Column("budget_window", Text),
    Column("period", Text),
    _money("cap"),
    Column("enforcement", Text, nullable=False),
    _money("reserved", server_default=text("0")),
    _money("spent", server_default=text("0")),
    _money("excess", server_default=text("0")),
    Column("would_deny_count", BigInteger, nullable=False, server_default=text("0")),
    _money("overridden", server_default=text("0")),
    *(
        Column(name, Integer, nullable=False, server_default=text(default))
        for name, default in (("alerted_spent", "0"), ("alerted_used", "0"), ("alert_round", "1"))
    ),
    PrimaryKeyConstraint("organization", "scope_kind", "scope_id", "budget_window", "period"),
    CheckConstraint("reserved >= 0", name="reserved_not_negative"),
    CheckConstraint("spent >= 0", name="spent_not_negative"),
    CheckConstraint("excess >= 0", name="excess_not_negative"),
    CheckConstraint("overridden >= 0", name="overridden_not_negative"),
    CheckConstraint("enforcement <> 'ENFORCE' OR spent + reserved <= cap + excess + overridden", name="within_cap"),
    CheckConstraint(SCOPE_KINDS, name="scope_kind_known"),
    CheckConstraint(WINDOWS, name="window_known"),
    CheckConstraint(ENFORCEMENTS, name="enforcement_known"),
    comment="How one period of a budget stands: the sum of its open holds and of its executions.",
    # Room on the page for new versions of the few rows that change with every batch.
    postgresql_with={"fillfactor": 50},
)

reservations = Table(
    "reservations",
    metadata,
    Column("organization", Text),
    Column("reservation_id", Text),
    *_attribution(),
    _money("amount"),
    Column("state", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("month", Text, nullable=False),
    _instant("created_at"),
    _instant("expires_at"),
    _instant("ended_at", nullable=True),
    _text("ended_by"),
    Column("owner", Text, nullable=False),
    # Without a default: a server of before it was there fails here, and not in the count of open holds.
    Column("caller", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("commit_digest", LargeBinary, nullable=False, server_default=text("''")),
    _text("price_version"),
    Column("would_deny", Boolean, nullable=False, server_default=text("false")),
    _money("charged", server_default=text("0")),
    _money("committed", nullable=True),
    Column("late", Boolean, nullable=False, server_default=text("false")),
    _labels(),
    # Without a default: a server of before it was there fails here, and not in what overrides are booked for.
    Column("priority", Text, nullable=False),
    _text("override_id"),
    _money("override_amount", server_default=text("0")),
    Column("override_parts", JSONB, nullable=False, server_default=text("'[]'")),
    PrimaryKeyConstraint("organization", "reservation_id"),
    CheckConstraint("priority IN ('CRITICAL', 'NORMAL', 'BATCH')", name="priority_known"),
    CheckConstraint("override_amount >= 0", name="override_amount_not_negative"),
    CheckConstraint("override_amount = 0 OR override_id <> ''", name="override_named"),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
    CheckConstraint("state IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED')", name="state_known"),
    CheckConstraint("(state = 'HELD') = (ended_at IS NULL)", name="ended_once"),
    CheckConstraint("state <> 'COMMITTED' OR committed IS NOT NULL", name="committed_at_a_cost"),
    CheckConstraint("committed IS NULL OR state = 'COMMITTED' OR late", name="late_when_ended_before"),
    CheckConstraint("committed >= 0", name="committed_not_negative"),
    CheckConstraint("charged = 0 OR (state = 'EXPIRED' AND charged = amount)", name="charged_on_expiry"),
    CheckConstraint("expires_at > created_at", name="expires_later"),
    comment="Holds on money, open and ended.",
)
Index(
    "reservations_open_idx",
    reservations.c.organization,
    reservations.c.expires_at,
    postgresql_where=text("state = 'HELD'"),
)
Index("reservations_newest_idx", reservations.c.organization, reservations.c.created_at, reservations.c.reservation_id)
Index("reservations_id_idx", reservations.c.reservation_id)
Index(
    "reservations_override_idx",
    reservations.c.organization,
    reservations.c.override_id,
    reservations.c.created_at,
    postgresql_where=text("override_id <> ''"),
)

executions = Table(
    "executions",
    metadata,
    Column("organization", Text),
    Column("reservation_id", Text),
    Column("kind", Text),
    *_attribution(),
    Column("day", Text, nullable=False),
    Column("month", Text, nullable=False),
    _instant("committed_at"),
    _money("cost"),
    _money("reserved_amount"),
    Column("outcome", Text, nullable=False),
    *(
        Column(name, BigInteger, nullable=False, server_default=text("0"))
        for name in ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")
    ),
    _text("price_version"),
    Column("quality_score", Double),
    Column("impact_score", Double),
    Column("conversions", BigInteger, nullable=False, server_default=text("0")),
    _money("revenue", server_default=text("0")),
    Column("latency", Interval),
    Column("late", Boolean, nullable=False, server_default=text("false")),
    _labels(),
    _text("override_id"),
    _money("override_amount", server_default=text("0")),
    PrimaryKeyConstraint("organization", "reservation_id", "kind"),
    CheckConstraint("override_amount = 0 OR override_id <> ''", name="override_named"),
    CheckConstraint("kind IN ('COMMIT', 'EXPIRY_CHARGE', 'REVERSAL')", name="kind_known"),
    CheckConstraint("(kind = 'REVERSAL') = (cost < 0)", name="only_reversals_are_negative"),
    CheckConstraint("outcome IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'UNKNOWN')", name="outcome_known"),
    CheckConstraint(
        "input_tokens >= 0 AND output_tokens >= 0 AND cached_input_tokens >= 0 AND cache_write_input_tokens >= 0"
        " AND cached_input_tokens + cache_write_input_tokens <= input_tokens",
        name="tokens_add_up",
    ),
    comment="The billing log: written once, never changed.",
)
Index(
    "executions_newest_idx",
    executions.c.organization,
    executions.c.committed_at,
    executions.c.reservation_id,
    executions.c.kind,
)
for _scope in ("department", "campaign", "agent"):
    Index(
        f"executions_{_scope}_idx",
        executions.c.organization,
        executions.c[_scope],
        executions.c.month,
        postgresql_where=text(f"{_scope} <> ''"),
    )
Index("executions_run_idx", executions.c.organization, executions.c.run, postgresql_where=text("run <> ''"))

excesses = Table(
    "excesses",
    metadata,
    Column("organization", Text),
    Column("excess_id", BigInteger, Identity(always=True)),
    Column("scope_kind", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("budget_window", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _money("amount"),
    _text("reservation_id"),
    _instant("recorded_at"),
    PrimaryKeyConstraint("organization", "excess_id"),
    CheckConstraint("kind IN ('OVERAGE', 'LATE_COMMIT', 'CAP_CHANGED')", name="kind_known"),
    CheckConstraint("amount > 0", name="amount_positive"),
    comment="Why, and by how much more, an enforced budget may stand above its cap.",
)

denials = Table(
    "denials",
    metadata,
    Column("organization", Text),
    Column("denial_id", BigInteger, Identity(always=True)),
    Column("reservation_id", Text, nullable=False),
    *_attribution(),
    Column("reason", Text, nullable=False),
    Column("scope_kind", Text),
    Column("scope_id", Text),
    Column("budget_window", Text),
    Column("period", Text),
    _money("requested"),
    _money("shortfall"),
    _instant("headroom_at", nullable=True),
    _instant("denied_at"),
    *_who(),
    # Without a seal are only denials that are older than the audit trail.
    Column("seal", LargeBinary),
    PrimaryKeyConstraint("organization", "denial_id"),
    CheckConstraint("octet_length(seal) = 36", name="seal_is_one"),
    CheckConstraint(
        "reason IN ('UNPRICED_MODEL', 'BUDGET_FROZEN', 'OUT_OF_BUDGET', 'HEADROOM_HELD')", name="reason_known"
    ),
    comment="Calls that were not admitted. They cost nothing.",
)
Index("denials_newest_idx", denials.c.organization, denials.c.denied_at)

price_books = Table(
    "price_books",
    metadata,
    Column("organization", Text),
    Column("version", Text),
    Column("document", JSONB, nullable=False),
    _instant("created_at", server_default=func.now()),
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    PrimaryKeyConstraint("organization", "version"),
    comment="Price books by version; those with an empty organization are for everyone, the newest in force.",
)

open_holds = Table(
    "open_holds",
    metadata,
    Column("organization", Text),
    Column("caller", Text),
    Column("holds", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization", "caller"),
    CheckConstraint("holds >= 0", name="holds_not_negative"),
    comment="How many holds are open: of each caller, and of all (caller empty).",
    postgresql_with={"fillfactor": 50},
)

tokens = Table(
    "tokens",
    metadata,
    Column("organization", Text),
    Column("token_id", Text),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scope_kind", Text),
    Column("scope_id", Text),
    _text("identity"),
    Column("digest", LargeBinary, nullable=False),
    _instant("created_at", server_default=func.now()),
    _text("created_by"),
    _instant("expires_at", nullable=True),
    _instant("revoked_at", nullable=True),
    Column("revision", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization", "token_id"),
    CheckConstraint("name <> ''", name="named"),
    CheckConstraint("role IN ('AGENT', 'VIEWER', 'ADMIN', 'OPERATOR')", name="role_known"),
    CheckConstraint("(role = 'OPERATOR') = (organization = '')", name="only_operators_have_all"),
    CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name="scope_whole"),
    CheckConstraint(
        "scope_kind IS NULL OR (role = 'AGENT' AND scope_kind IN ('CAMPAIGN', 'AGENT') AND scope_id <> '')",
        name="only_agents_are_narrowed",
    ),
    CheckConstraint("octet_length(digest) = 32", name="digest_is_sha_256"),
    comment="Who may call. Rows are never deleted; their revision is set by a trigger, in the order of commits.",
)
Index("tokens_revision_idx", tokens.c.revision)
Index("tokens_name_idx", tokens.c.organization, tokens.c.name, unique=True, postgresql_where=text("revoked_at IS NULL"))
Index("tokens_digest_idx", tokens.c.digest, unique=True, postgresql_where=text("revoked_at IS NULL"))

token_revisions = Table(
    "token_revisions",
    metadata,
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("is_only", name="one_row"),
    comment="The newest revision of a token. Its row lock puts changes of tokens one after another.",
)

token_uses = Table(
    "token_uses",
    metadata,
    Column("organization", Text),
    Column("token_id", Text),
    _instant("last_used_at"),
    PrimaryKeyConstraint("organization", "token_id"),
    comment="When tokens were last used, within some seconds.",
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("organization", Text),
    Column("event_id", BigInteger, Identity(always=True)),
    Column("action", Text, nullable=False),
    _instant("occurred_at"),
    *_who(),
    Column("subject", Text, nullable=False),
    # Text, not JSONB: a seal is about these very characters.
    Column("before", Text),
    Column("after", Text),
    _text("reason"),
    Column("seal", LargeBinary, nullable=False),
    PrimaryKeyConstraint("organization", "event_id"),
    CheckConstraint("octet_length(seal) = 36", name="seal_is_one"),
    comment="Every change: who, from where, when, what before and after, why. An empty organization: the installation.",
)
Index("audit_events_newest_idx", audit_events.c.organization, audit_events.c.occurred_at, audit_events.c.event_id)

audit_chain = Table(
    "audit_chain",
    metadata,
    Column("organization", Text),
    Column("sequence", BigInteger),
    Column("source", Text, nullable=False),
    Column("source_id", BigInteger, nullable=False),
    Column("link", LargeBinary, nullable=False),
    PrimaryKeyConstraint("organization", "sequence"),
    CheckConstraint("sequence > 0", name="sequence_from_1"),
    CheckConstraint("source IN ('EVENT', 'DENIAL')", name="source_known"),
    CheckConstraint("octet_length(link) = 32", name="link_is_sha_256"),
    comment="The order of audit events and denials; each link is the hash of the one before it and of a row's seal.",
)
Index(
    "audit_chain_source_idx",
    audit_chain.c.organization,
    audit_chain.c.source,
    audit_chain.c.source_id,
    unique=True,
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("link", LargeBinary, nullable=False),
    comment="The last link of each chain. Whoever chains locks the row.",
)

overrides = Table(
    "overrides",
    metadata,
    Column("organization", Text),
    Column("override_id", Text),
    Column("scope_kind", Text),
    Column("scope_id", Text),
    _text("reservation_id"),
    _money("max_amount"),
    _money("reserved", server_default=text("0")),
    _money("spent", server_default=text("0")),
    Column("ttl", Interval, nullable=False),
    Column("state", Text, nullable=False),
    _instant("created_at"),
    _instant("expires_at"),
    Column("reason", Text, nullable=False),
    *(
        _text(name)
        for name in ("requested_by", "requested_by_id", "granted_by", "granted_by_id", "approved_by", "ended_by")
    ),
    _instant("ended_at", nullable=True),
    # Pairs of kind and id; null where it is for one call whoever makes it, or for the calls of a scope.
    Column("bound_scopes", JSONB(none_as_null=True), nullable=True),
    Column("terms_digest", LargeBinary, nullable=False, server_default=text("''")),
    PrimaryKeyConstraint("organization", "override_id"),
    CheckConstraint("max_amount > 0", name="max_amount_positive"),
    CheckConstraint("reserved >= 0 AND spent >= 0", name="booked_not_negative"),
    CheckConstraint("reserved + spent <= max_amount", name="not_overdrawn"),
    CheckConstraint("state IN ('PENDING', 'ACTIVE', 'ENDED', 'DECLINED')", name="state_known"),
    CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name="scope_whole"),
    CheckConstraint("(scope_kind IS NULL) = (reservation_id <> '')", name="one_target"),
    CheckConstraint(SCOPE_KINDS, name="scope_kind_known"),
    CheckConstraint(ORGANIZATION_SCOPE, name="only_organization_has_no_id"),
    CheckConstraint("(state IN ('ENDED', 'DECLINED')) = (ended_at IS NOT NULL)", name="ended_once"),
    CheckConstraint("reason <> ''", name="explained"),
    CheckConstraint("state <> 'ACTIVE' OR granted_by <> ''", name="granted"),
    comment="Permissions to spend past caps, bounded in amount and time, and what they have paid.",
)
Index(
    "overrides_open_idx",
    overrides.c.organization,
    overrides.c.state,
    overrides.c.expires_at,
    postgresql_where=text("state IN ('PENDING', 'ACTIVE')"),
)
Index("overrides_newest_idx", overrides.c.organization, overrides.c.created_at, overrides.c.override_id)

alerts = Table(
    "alerts",
    metadata,
    Column("organization", Text),
    Column("alert_id", BigInteger, Identity(always=True)),
    Column("kind", Text, nullable=False),
    *(_text(name) for name in ("scope_kind", "scope_id", "budget_window", "period", "basis")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("threshold", "round")),
    _text("subject"),
    Column("message", Text, nullable=False),
    *(_money(name, server_default=text("0")) for name in ("cap", "spent", "reserved")),
    _instant("occurred_at"),
    # When the alert was handed to the channels.
    _instant("dispatched_at", nullable=True),
    PrimaryKeyConstraint("organization", "alert_id"),
    CheckConstraint(
        "kind IN ('THRESHOLD', 'RESOLVED', 'BURN_RATE', 'RUNAWAY', 'OVERRIDE_REQUESTED', 'VERIFICATION_FAILED',"
        " 'TEST')",
        name="kind_known",
    ),
    CheckConstraint("basis IN ('', 'SPENT', 'USED')", name="basis_known"),
    comment="What is told once: written in the transaction that it tells of. An empty organization: the installation.",
)
Index(
    "alerts_once_idx",
    *(
        alerts.c[name]
        for name in (
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
        )
    ),
    unique=True,
)
Index("alerts_waiting_idx", alerts.c.alert_id, postgresql_where=text("dispatched_at IS NULL"))

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("organization", Text),
    Column("alert_id", BigInteger),
    Column("channel", Text),
    Column("state", Text, nullable=False, server_default="PENDING"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _instant("next_attempt_at"),
    _instant("delivered_at", nullable=True),
    _text("last_error"),
    PrimaryKeyConstraint("organization", "alert_id", "channel"),
    CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
    CheckConstraint("(state = 'DELIVERED') = (delivered_at IS NOT NULL)", name="delivered_once"),
    CheckConstraint("attempts >= 0", name="attempts_not_negative"),
    comment="How far each alert has come on each channel.",
)
Index(
    "alert_deliveries_due_idx",
    *(alert_deliveries.c[name] for name in ("channel", "organization", "next_attempt_at", "alert_id")),
    postgresql_where=text("state = 'PENDING'"),
)

Index(
    "alert_deliveries_dead_idx",
    alert_deliveries.c.organization,
    alert_deliveries.c.alert_id,
    postgresql_where=text("state = 'DEAD'"),
)

alert_channels = Table(
    "alert_channels",
    metadata,
    Column("organization", Text, server_default=""),
    Column("channel", Text),
    _instant("last_seen_at"),
    PrimaryKeyConstraint("organization", "channel"),
    comment="Which channels the servers have, and when one last had each. They are the installation's.",
)

installation = Table(
    "installation",
    metadata,
    Column("organization", Text, server_default=""),
    Column("installation_id", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    PrimaryKeyConstraint("organization"),
    CheckConstraint("organization = ''", name="one_row"),
    comment="What this installation is called, so that ids which leave it are those of no other.",
)

verifications = Table(
    "verifications",
    metadata,
    Column("organization", Text, server_default=""),
    Column("verification_id", BigInteger, Identity(always=True)),
    _instant("started_at"),
    _instant("finished_at"),
    *(Column(name, BigInteger, nullable=False) for name in ("differences", "audit_differences")),
    _text("example"),
    PrimaryKeyConstraint("organization", "verification_id"),
    comment="What the servers' own verification has found. An empty organization: the whole installation.",
)

spend_rollups = Table(
    "spend_rollups",
    metadata,
    Column("organization", Text),
    Column("month", Text),
    # The UTC date of `committed_at`: what was recorded before any instant is whole dates of it, and one to be counted.
    Column("recorded_on", Date),
    # The SHA-256 of the names and of all else from here to `late`: names alone may be longer than what an index takes.
    Column("key_hash", LargeBinary),
    *(
        Column(name, Text, nullable=False)
        for name in (
            "day",
            "department",
            "campaign",
            "agent",
            "agent_type",
            "model",
            "override_id",
            "kind",
            "outcome",
        )
    ),
    Column("late", Boolean, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            "entries",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_input_tokens",
            "output_tokens",
            "conversions",
            "quality_scores",
            "impact_scores",
            "latencies",
        )
    ),
    *(_money(name) for name in ("cost", "reserved_amount", "overage_amount", "override_amount", "revenue")),
    *(Column(name, Double, nullable=False) for name in ("quality_sum", "impact_sum")),
    Column("latency_sum", Interval, nullable=False),
    PrimaryKeyConstraint("organization", "month", "recorded_on", "key_hash"),
    CheckConstraint("entries > 0", name="entries_positive"),
    CheckConstraint("octet_length(key_hash) = 32", name="key_hash_is_one"),
    CheckConstraint("kind IN ('COMMIT', 'EXPIRY_CHARGE', 'REVERSAL')", name="kind_known"),
    comment="Executions recorded before the organization's mark, added up. Derived: `gatekeeper verify` compares.",
)

spend_marks = Table(
    "spend_marks",
    metadata,
    Column("organization", Text, primary_key=True),
    _instant("recorded_before"),
    comment="Which executions the rollups of an organization hold: those with an earlier `committed_at`.",
)

billing_profiles = Table(
    "billing_profiles",
    metadata,
    Column("organization", Text, primary_key=True),
    *(
        _text(name)
        for name in ("legal_name", "address", "city", "postal_code", "country", "vat_id", "email", "reference")
    ),
    Column("tax_rate_percent", Numeric(6, 4), nullable=False, server_default=text("0")),
    Column("tax_category", Text, nullable=False, server_default="NOT_SUBJECT"),
    _text("tax_note"),
    Column("payment_days", Integer, nullable=False, server_default=text("30")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    _instant("updated_at", server_default=func.now()),
    CheckConstraint("tax_rate_percent >= 0 AND tax_rate_percent < 100", name="tax_rate_is_a_share"),
    CheckConstraint(
        "tax_category IN ('STANDARD', 'ZERO', 'EXEMPT', 'REVERSE_CHARGE', 'NOT_SUBJECT')", name="tax_category_known"
    ),
    CheckConstraint("tax_category = 'STANDARD' OR tax_rate_percent = 0", name="only_standard_has_a_rate"),
    CheckConstraint("payment_days BETWEEN 0 AND 365", name="payment_days_in_a_year"),
    comment="What an organization's invoices say of the buyer, of tax and of payment.",
)

invoices = Table(
    "invoices",
    metadata,
    Column("organization", Text),
    Column("number", Text),
    Column("year", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("period", Text, nullable=False),
    # How many invoices of this month were taken back before this one.
    Column("correction", Integer, nullable=False, server_default=text("0")),
    _text("credited_number"),
    _instant("issued_at"),
    Column("entries", BigInteger, nullable=False),
    _money("ledger_amount"),
    _money("net_amount"),
    _money("tax_amount"),
    Column("document", Text, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("organization", "number"),
    CheckConstraint("kind IN ('INVOICE', 'CREDIT_NOTE')", name="kind_known"),
    CheckConstraint("(kind = 'CREDIT_NOTE') = (credited_number <> '')", name="credit_notes_name_their_invoice"),
    CheckConstraint("sequence > 0", name="sequence_positive"),
    CheckConstraint("octet_length(content_hash) = 32", name="content_hash_is_one"),
    comment="Invoices and credit notes as they were issued: written once, never changed.",
)
Index("invoices_sequence_idx", invoices.c.organization, invoices.c.year, invoices.c.sequence, unique=True)
Index(
    "invoices_period_idx",
    invoices.c.organization,
    invoices.c.period,
    invoices.c.correction,
    unique=True,
    postgresql_where=text("kind = 'INVOICE'"),
)
Index(
    "invoices_credited_idx",
    invoices.c.organization,
    invoices.c.credited_number,
    unique=True,
    postgresql_where=text("kind = 'CREDIT_NOTE'"),
)
Index("invoices_newest_idx", invoices.c.organization, invoices.c.issued_at, invoices.c.number)

invoice_spans = Table(
    "invoice_spans",
    metadata,
    Column("organization", Text),
    Column("number", Text),
    Column("period", Text),
    _instant("recorded_from"),
    _instant("recorded_before"),
    PrimaryKeyConstraint("organization", "number", "period", "recorded_from"),
    CheckConstraint("recorded_from < recorded_before", name="recorded_in_order"),
    comment="Which executions are on an invoice: those of a month that were recorded between two instants.",
)

invoice_files = Table(
    "invoice_files",
    metadata,
    Column("organization", Text),
    Column("number", Text),
    Column("format", Text),
    Column("content", LargeBinary, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    _instant("rendered_at", server_default=func.now()),
    PrimaryKeyConstraint("organization", "number", "format"),
    CheckConstraint("octet_length(content_hash) = 32", name="content_hash_is_one"),
    comment="Files of issued invoices as they were first rendered: written once, never changed.",
)
