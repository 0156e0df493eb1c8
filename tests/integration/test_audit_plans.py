"""Do the statements of the audit trail go by the right indexes, also where PostgreSQL knows nothing of its tables?"""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from gatekeeper.domain.audit import AuditSource
from gatekeeper.storage import audit, audit_chain, audit_verification

ROWS = 5000
# Some for each level of some indexes; with all of an organization's rows for each row, it would be hundreds.
PAGES_PER_ROW_MAX = 25
# Uncommitted, so that nobody gathers statistics of it meanwhile.
FILL = """
SET LOCAL session_replication_role = replica;
INSERT INTO audit_events (organization, action, occurred_at, caller, actor, actor_role, peer, subject, seal)
SELECT {name}, 'BUDGET_SET', now(), '', '', '', '', '', decode(repeat('00', 36), 'hex')
FROM generate_series(1, {rows}) n;
INSERT INTO denials (organization, reservation_id, model, reason, requested, shortfall, denied_at, caller, actor,
    actor_role, peer, seal)
SELECT {name}, 'r', '', 'UNPRICED_MODEL', 1, 1, now(), '', '', '', '', decode(repeat('00', 36), 'hex')
FROM generate_series(1, {rows}) n;
INSERT INTO audit_chain
SELECT {name}, 2 * n + i, CASE i WHEN 0 THEN 'EVENT' ELSE 'DENIAL' END, n, sha256('')
FROM generate_series(1, {rows}) n, generate_series(0, 1) i;
"""
ANALYZE = "ANALYZE audit_events, denials, audit_chain"
STATEMENTS = {
    "links": audit_verification.LINKS.replace("%s", "'acme'"),
    **{
        f"{name} of {source.lower()}s": statement.format(
            table=audit.TABLES[source],
            id=audit.IDS[source],
            source=source,
            instant=audit_chain.OCCURRED[source],
            content=audit.content_columns(source, "t"),
        )
        .replace("%(organization)s", "'acme'")
        .replace("%(end)s", "100000")
        .replace("%(behind)s", "0")
        .replace("%(limit)s", "1000")
        for name, statement in (
            ("rows", audit_chain.ROWS),
            ("newest", audit_chain.UNCHAINED),
            ("seals", audit_chain.NEWEST_SEAL),
            ("unchained", audit_verification.UNCHAINED),
        )
        for source in AuditSource
    },
}
SLOW = re.compile(r"Materialize|Seq Scan|Hash Join|Merge Join|Bitmap|Gather")


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("analyzed", ["never", "while empty", "before ours", "full"])
def test_plans(database_url: str, name: str, analyzed: str) -> None:
    """Nothing is read but by primary keys and the index of the chain's rows, whatever is known of the tables."""
    with psycopg.connect(database_url) as connection:
        if analyzed == "before ours":
            connection.execute(FILL.format(name="'other ' || n", rows=ROWS).encode())
        if analyzed in {"while empty", "before ours"}:
            connection.execute(ANALYZE)
        connection.execute(FILL.format(name="'acme'", rows=ROWS).encode())
        if analyzed == "full":
            connection.execute(ANALYZE)
        connection.execute(audit_verification.BEGIN.partition(";")[2].encode())
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {STATEMENTS[name]}"
        row = connection.execute(explain.encode()).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    shown = json.dumps(plan, indent=1)
    assert not SLOW.search(shown), shown
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_PER_ROW_MAX * ROWS, shown
