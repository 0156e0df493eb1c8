"""What does verification ask the ledger? Each question is one statement over all books; each of its rows a difference.

No statement takes a lock, and none goes row by row: those on reservations and executions read their table from end to
end. All return what is wrong, organization, a balance's key, a reservation's id, what is expected, and what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.domain.budget import ScopeKind

from .rollups import RECORDED_ON
from .rows import SCOPE_COLUMNS

# Whether a row `t` belongs to the one organization that was asked for; folded away when the statement is planned.
MINE = "(%(organization)s::text IS NULL OR t.organization = %(organization)s)"
NO_KEY = "NULL::text, NULL::text, NULL::text, NULL::text"
KEY = "organization, scope_kind, scope_id, budget_window, period"

# Every table that names organizations. An alert without one is about the installation.
TABLES: Sequence[str] = (
    "budgets",
    "balances",
    "reservations",
    "executions",
    "excesses",
    "denials",
    "open_holds",
    "overrides",
    "alerts",
    "alert_deliveries",
    "spend_rollups",
    "spend_marks",
    "billing_profiles",
    "invoices",
    "invoice_spans",
    "invoice_files",
)

UNKNOWN_ORGANIZATIONS = " UNION ALL ".join(
    f"SELECT 'rows in {table} of an organization that does not exist', organization, {NO_KEY}, '',"
    f" 0.0, count(*)::numeric FROM {table} t WHERE {MINE} AND (organization <> '' OR '{table}' NOT LIKE 'alert%%')"
    " AND NOT EXISTS (SELECT FROM organizations o WHERE o.organization = t.organization) GROUP BY organization"
    for table in TABLES
)

PRICE_BOOKS = f"""
SELECT 'its price book ' || quote_literal(price_version) || ' does not exist', organization, {NO_KEY}, '', NULL, NULL
FROM organizations t
WHERE {MINE} AND price_version <> '' AND NOT EXISTS (
    SELECT FROM price_books p WHERE p.organization = t.organization AND p.version = t.price_version)
"""

WITHIN_CAP = f"""
SELECT 'spent and reserved above cap, excess and overridden', {KEY}, '', cap + excess + overridden, spent + reserved
FROM balances t WHERE {MINE} AND enforcement = 'ENFORCE' AND spent + reserved > cap + excess + overridden
"""

# A balance stands under the cap and the enforcement of its budget as long as its period lasts.
CAPS = f"""
SELECT CASE WHEN b.organization IS NULL THEN 'balance without a budget'
            WHEN b.cap <> t.cap THEN 'cap, in its budget and in its current balance'
            ELSE 'enforcement, in its budget and in its current balance' END,
       t.organization, t.scope_kind, t.scope_id, t.budget_window, t.period, '',
       CASE WHEN b.cap <> t.cap THEN b.cap END, CASE WHEN b.cap IS DISTINCT FROM t.cap THEN t.cap END
FROM balances t LEFT JOIN budgets b USING (organization, scope_kind, scope_id, budget_window)
WHERE {MINE} AND (b.organization IS NULL OR (b.cap, b.enforcement) <> (t.cap, t.enforcement) AND EXISTS (
    SELECT FROM unnest(%(organizations)s::text[], %(windows)s::text[], %(periods)s::text[]) AS c(o, w, p)
    WHERE (c.o, c.w, c.p) = (t.organization, t.budget_window, t.period)))
"""

# Every excess has a balance, and every balance's excess its rows.
EXCESSES = f"""
SELECT 'excess', organization, scope_kind, scope_id, budget_window, period, '', coalesce(e.total, 0), p.excess
FROM (SELECT * FROM balances t WHERE {MINE}) p
FULL JOIN (SELECT {KEY}, sum(amount) AS total FROM excesses t WHERE {MINE} GROUP BY {KEY}) e USING ({KEY})
WHERE coalesce(e.total, 0) <> coalesce(p.excess, 0)
"""

EXCESSES_OF_RESERVATIONS = f"""
SELECT 'excess of a reservation that does not exist', {KEY}, t.reservation_id, NULL, t.amount
FROM excesses t WHERE {MINE} AND (t.reservation_id <> '' OR t.kind <> 'CAP_CHANGED') AND NOT EXISTS (
    SELECT FROM reservations r WHERE r.organization = t.organization AND r.reservation_id = t.reservation_id)
"""

# Sums what counts for one kind of scope by day, rolls it up to months and totals, and lays it beside the balances;
# also beside those that a current period must have but lacks. No kind without a budget is read.
SUMS = """
WITH asked AS MATERIALIZED (
    SELECT t.organization, t.scope_id, t.budget_window, t.period, t.{found} AS found
    FROM balances t WHERE t.scope_kind = '{kind}' AND {mine}
    UNION ALL
    SELECT t.organization, t.scope_id, t.budget_window, c.period, NULL
    FROM budgets t JOIN unnest(%(organizations)s::text[], %(windows)s::text[], %(periods)s::text[])
        AS c(organization, budget_window, period) USING (organization, budget_window)
    WHERE t.scope_kind = '{kind}' AND {mine} AND NOT EXISTS (
        SELECT FROM balances p WHERE (p.organization, p.scope_kind, p.scope_id, p.budget_window, p.period)
            = (t.organization, t.scope_kind, t.scope_id, t.budget_window, c.period))
), daily AS MATERIALIZED (
    SELECT t.organization, {column} AS scope_id, t.day, t.month, sum(t.{amount}) AS total
    FROM {table} t
    WHERE {condition} AND {mine} AND (t.organization, {column}) IN (SELECT organization, scope_id FROM asked)
    GROUP BY 1, 2, 3, 4
), sums AS (
    SELECT organization, scope_id, 'DAY' AS budget_window, day AS period, sum(total) AS total
    FROM daily GROUP BY organization, scope_id, day
    UNION ALL
    SELECT organization, scope_id, 'MONTH', month, sum(total) FROM daily GROUP BY organization, scope_id, month
    UNION ALL
    SELECT organization, scope_id, 'TOTAL', 'total', sum(total) FROM daily GROUP BY organization, scope_id
)
SELECT CASE WHEN found IS NULL THEN '{found}, without a balance' ELSE '{found}' END,
       organization, '{kind}', scope_id, budget_window, period, '', coalesce(total, 0), found
FROM asked LEFT JOIN sums USING (organization, scope_id, budget_window, period)
WHERE coalesce(found, 0) <> coalesce(total, 0)
"""

# Every entry of the billing log belongs to a reservation, which says the same of it.
EXECUTIONS = f"""
SELECT CASE WHEN unknown THEN lower(kind) || ' without a reservation'
            WHEN due IS NULL THEN lower(kind) || ' that its reservation does not know'
            WHEN due <> cost THEN lower(kind) || ', in its reservation and in its execution'
            ELSE lower(kind) || ' with other attribution, period, amount or lateness than its reservation' END,
       organization, {NO_KEY}, reservation_id,
       CASE WHEN due <> cost THEN due END, CASE WHEN due IS DISTINCT FROM cost THEN cost END
FROM (
    SELECT t.organization, t.reservation_id, t.kind, t.cost, r.organization IS NULL AS unknown,
           CASE t.kind WHEN 'COMMIT' THEN r.committed WHEN 'EXPIRY_CHARGE' THEN nullif(r.charged, 0)
                       ELSE CASE WHEN r.committed IS NOT NULL THEN nullif(-r.charged, 0) END END AS due,
           (t.department, t.campaign, t.agent, t.run, t.agent_type, t.task, t.day, t.month, t.reserved_amount)
           = (r.department, r.campaign, r.agent, r.run, r.agent_type, r.task, r.day, r.month, r.amount)
           AND (t.kind <> 'COMMIT' OR t.late = r.late) AS same
    FROM executions t LEFT JOIN reservations r USING (organization, reservation_id)
    WHERE {MINE}
) AS entries
WHERE unknown OR due IS NULL OR due <> cost OR NOT same
"""

# Every reservation that ended at a cost has its entries. Given that the entries above are due, none comes twice.
MISSING_EXECUTIONS = " UNION ALL ".join(
    f"SELECT '{what} without an execution', organization, {NO_KEY}, reservation_id, {cost}, NULL"
    f" FROM reservations t WHERE {MINE} AND {condition} AND NOT EXISTS ("
    f"SELECT FROM executions e WHERE e.organization = t.organization"
    f" AND e.reservation_id = t.reservation_id AND e.kind = '{kind}')"
    for what, kind, cost, condition in (
        ("commit", "COMMIT", "committed", "committed IS NOT NULL"),
        ("expiry charge", "EXPIRY_CHARGE", "charged", "charged <> 0"),
        ("reversal", "REVERSAL", "-charged", "charged <> 0 AND committed IS NOT NULL"),
    )
)

# A reservation ends once, and its row says how.
RESERVATIONS = f"""
SELECT wrong, organization, {NO_KEY}, reservation_id,
       CASE WHEN charged NOT IN (0, amount) THEN amount END, CASE WHEN charged NOT IN (0, amount) THEN charged END
FROM reservations t CROSS JOIN LATERAL (
    SELECT CASE WHEN (state = 'HELD') <> (ended_at IS NULL) THEN 'state ' || state || ' and end do not fit'
                WHEN state = 'COMMITTED' AND committed IS NULL THEN 'committed without a cost'
                WHEN late <> (committed IS NOT NULL AND state <> 'COMMITTED') THEN 'committed, but not as ' || state
                WHEN charged <> 0 AND (state <> 'EXPIRED' OR charged <> amount) THEN 'charge of ' || state
                WHEN state = 'EXPIRED' AND ended_at < expires_at THEN 'expired before its time'
                WHEN month <> left(day, 7) THEN 'day and month do not fit'
           END AS wrong
) AS rules
WHERE {MINE} AND wrong IS NOT NULL
"""

# A hold that is long overdue was leaked: no server sweeps, or it does not find this one. By the index on open holds.
OVERDUE = f"""
SELECT 'hold not swept, overdue since ' || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       organization, {NO_KEY}, reservation_id, 0.0, amount
FROM reservations t
WHERE {MINE} AND state = 'HELD' AND expires_at < clock_timestamp() - make_interval(secs => %(overdue_after_s)s)
"""

# The counts of open holds, of each caller and of all. By the index on open holds.
OPEN_HOLDS = f"""
SELECT 'open holds' || CASE caller WHEN '' THEN '' ELSE ' of caller ' || quote_literal(caller) END,
       organization, {NO_KEY}, '', coalesce(r.holds, 0)::numeric, coalesce(h.holds, 0)::numeric
FROM (SELECT organization, caller, holds FROM open_holds t WHERE {MINE}) h
FULL JOIN (
    SELECT t.organization, c.caller, count(*) AS holds FROM reservations t
    CROSS JOIN LATERAL unnest(CASE t.caller WHEN '' THEN ARRAY[''] ELSE ARRAY['', t.caller] END) AS c(caller)
    WHERE {MINE} AND t.state = 'HELD' GROUP BY 1, 2
) r USING (organization, caller)
WHERE coalesce(r.holds, 0) <> coalesce(h.holds, 0)
"""

# The rollups are what the executions recorded before the mark come to, by month and date of recording.
ROLLUPS = f"""
SELECT 'rollup of what was recorded on ' || recorded_on
       || CASE WHEN e.entries IS DISTINCT FROM r.entries THEN ': entries' ELSE ': cost' END,
       organization, 'ORGANIZATION', '', 'MONTH', month, '',
       CASE WHEN e.entries IS DISTINCT FROM r.entries THEN e.entries ELSE e.cost END,
       CASE WHEN e.entries IS DISTINCT FROM r.entries THEN r.entries ELSE r.cost END
FROM (
    SELECT organization, month, recorded_on, sum(entries) AS entries, sum(cost) AS cost
    FROM spend_rollups t WHERE {MINE} GROUP BY 1, 2, 3
) r
FULL JOIN (
    SELECT organization, month, {RECORDED_ON} AS recorded_on, count(*)::numeric AS entries, sum(cost) AS cost
    FROM executions t JOIN spend_marks USING (organization)
    WHERE {MINE} AND committed_at < recorded_before GROUP BY 1, 2, 3
) e USING (organization, month, recorded_on)
WHERE (r.entries, r.cost) IS DISTINCT FROM (e.entries, e.cost)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statement, and what it compares in the words of whoever watches."""

    name: str
    statement: str


def _sums(kind: ScopeKind, found: str, amount: str, table: str, condition: str) -> Check:
    """Return the check of one column of the balances of one kind of scope."""
    column = f"t.{SCOPE_COLUMNS[kind]}" if kind in SCOPE_COLUMNS else "''::text"
    statement = SUMS.format(
        kind=kind.value, found=found, amount=amount, table=table, condition=condition, column=column, mine=MINE
    )
    return Check(name=f"{found} by {kind.lower()}", statement=statement)


CHECKS = (
    Check(name="organizations", statement=UNKNOWN_ORGANIZATIONS),
    Check(name="price books", statement=PRICE_BOOKS),
    Check(name="caps", statement=CAPS),
    Check(name="room", statement=WITHIN_CAP),
    Check(name="excesses", statement=EXCESSES),
    Check(name="excesses of reservations", statement=EXCESSES_OF_RESERVATIONS),
    *(_sums(kind, "reserved", "amount", "reservations", "t.state = 'HELD'") for kind in ScopeKind),
    *(_sums(kind, "spent", "cost", "executions", "true") for kind in ScopeKind),
    Check(name="reservations", statement=RESERVATIONS),
    Check(name="executions", statement=EXECUTIONS),
    Check(name="missing executions", statement=MISSING_EXECUTIONS),
    Check(name="rollups", statement=ROLLUPS),
    Check(name="open holds", statement=OPEN_HOLDS),
    Check(name="overdue holds", statement=OVERDUE),
)
