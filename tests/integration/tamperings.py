"""How can books be wrong? Statements that change them behind the ledger's back, and what verification says of each."""

from __future__ import annotations

import psycopg

from tests.integration.override_tamperings import OVERRIDE_TAMPERINGS

OF_MONTH = "organization = 'acme' AND scope_kind = 'ORGANIZATION' AND budget_window = 'MONTH'"
COMMITTED = "(SELECT reservation_id FROM reservations WHERE organization = 'acme' AND state = 'COMMITTED' LIMIT 1)"
HELD = "(SELECT reservation_id FROM reservations WHERE organization = 'acme' AND state = 'HELD' LIMIT 1)"
CHARGED = "(SELECT reservation_id FROM reservations WHERE charged = 0.5 AND committed IS NULL LIMIT 1)"
REVERSED = "(SELECT reservation_id FROM executions WHERE kind = 'REVERSAL' LIMIT 1)"
INSERT_EXECUTION = (
    "INSERT INTO executions (organization, reservation_id, kind, department, campaign, agent, run, agent_type, task,"
    " model, day, month, committed_at, cost, reserved_amount, outcome)"
    " SELECT organization, {id}, '{kind}', department, campaign, agent, run, agent_type, task, model, day, month,"
    " clock_timestamp(), {cost}, amount, 'SUCCEEDED' FROM reservations WHERE reservation_id = {source}"
)

TAMPERINGS = {
    "reserved is too high": (
        f"UPDATE balances SET reserved = reserved + 0.000000001 WHERE {OF_MONTH}",
        "'acme', organization, month .*: reserved: expected .*, found .*",
    ),
    "spent of a day is too low": (
        "UPDATE balances SET spent = spent - 0.01 WHERE budget_window = 'DAY' AND organization = 'acme'",
        "'acme', campaign 'spring', day .*: spent: expected .*, found .*",
    ),
    "spent of a total is too high": (
        "UPDATE balances SET spent = spent + 1 WHERE budget_window = 'TOTAL' AND scope_kind = 'RUN'",
        "run 'run 1', total total: spent: ",
    ),
    "a warning budget's sum is wrong": (
        "UPDATE balances SET spent = 0 WHERE scope_kind = 'AGENT'",
        "agent 'writer', month .*: spent: .*, found 0.00",
    ),
    "a balance is lost": (
        "DELETE FROM balances WHERE scope_kind = 'DEPARTMENT' AND organization = 'charging'",
        "'charging', department 'marketing', month .*: spent, without a balance: expected .*, found nothing",
    ),
    "excess has no rows": (
        "DELETE FROM excesses WHERE kind = 'CAP_CHANGED'",
        "campaign 'spring', .*: excess: expected .*, found ",
    ),
    "excess has a row too many": (
        "UPDATE balances SET excess = 0 WHERE scope_kind = 'DEPARTMENT'",
        "department .*: excess: .*, found 0.00",
    ),
    "excess of a balance that is lost": (
        "DELETE FROM balances WHERE excess > 0",
        ": excess: expected .*, found nothing",
    ),
    "excess names an unknown reservation": (
        "UPDATE excesses SET reservation_id = 'x' WHERE kind = 'OVERAGE'",
        "excess of a reservation that does not exist",
    ),
    "above the cap": (
        f"UPDATE balances SET cap = 0.01, excess = 0 WHERE {OF_MONTH}",
        "spent and reserved above cap, excess and overridden: expected 0.01, found ",
    ),
    "a cap that nobody set": (f"UPDATE balances SET cap = 7777 WHERE {OF_MONTH}", ": cap, .*: expected .*, found 7777"),
    "an enforcement that nobody set": (
        f"UPDATE balances SET enforcement = 'WARN' WHERE {OF_MONTH}",
        ": enforcement, in its budget and in its current",
    ),
    "a balance without a budget": (f"DELETE FROM budgets WHERE {OF_MONTH}", "balance without a budget"),
    "a commit without execution": (
        f"DELETE FROM executions WHERE reservation_id = {COMMITTED}",
        "commit without an execution: .*, found nothing",
    ),
    "a commit of another cost": (
        f"UPDATE executions SET cost = cost + 0.000000001 WHERE reservation_id = {COMMITTED}",
        "reservation '.*': commit, in its reservation and in its execution: expected .*, found .*",
    ),
    "an execution without reservation": (
        f"DELETE FROM reservations WHERE reservation_id = {COMMITTED}",
        "commit without a reservation: expected nothing",
    ),
    "an execution of an open hold": (
        INSERT_EXECUTION.format(id="reservation_id", kind="COMMIT", cost="0", source=HELD),
        "commit that its reservation does not know: expected nothing, found 0.00",
    ),
    "another attribution": (
        f"UPDATE executions SET campaign = 'winter' WHERE reservation_id = {COMMITTED}",
        "with other attribution",
    ),
    "another day": (
        f"UPDATE executions SET day = '1999-01-01' WHERE reservation_id = {COMMITTED}",
        "with other attrib",
    ),
    "another held amount": (
        f"UPDATE executions SET reserved_amount = 9 WHERE reservation_id = {COMMITTED}",
        "with other attribution",
    ),
    "lateness denied": ("UPDATE executions SET late = false WHERE late AND kind = 'COMMIT'", "with other attribution"),
    "an expiry charge without execution": (
        f"DELETE FROM executions WHERE reservation_id = {CHARGED}",
        "expiry charge without an execution: expected 0.",
    ),
    "an expiry charge of another amount": (
        f"UPDATE executions SET cost = 0.01 WHERE reservation_id = {CHARGED}",
        "expiry_charge, in its reservation and in its execution: expected 0.50, found 0.01",
    ),
    "an expiry charge under another policy": (
        f"UPDATE reservations SET charged = 0 WHERE reservation_id = {CHARGED}",
        "expiry_charge that its reservation",
    ),
    "a reversal without a late commit": (
        INSERT_EXECUTION.format(id="reservation_id", kind="REVERSAL", cost="-amount", source=CHARGED),
        "reversal that its reservation does not know",
    ),
    "a reversal of another amount": (
        "UPDATE executions SET cost = -0.1 WHERE kind = 'REVERSAL'",
        "reversal, in its .*: expected -0.50, found -0.10",
    ),
    "a late commit without reversal": (
        "DELETE FROM executions WHERE kind = 'REVERSAL'",
        "reversal without an execution: expected -0.50, found nothing",
    ),
    "an open hold with an end": (
        f"UPDATE reservations SET ended_at = clock_timestamp() WHERE reservation_id = {HELD}",
        "state HELD and end do not fit",
    ),
    "a commit without a cost": (
        f"UPDATE reservations SET committed = NULL WHERE reservation_id = {COMMITTED}",
        "committed without a cost",
    ),
    "a release with a cost": (
        f"UPDATE reservations SET state = 'RELEASED' WHERE reservation_id = {COMMITTED}",
        "but not as RELEASED",
    ),
    "a charge that is not the hold's": (
        f"UPDATE reservations SET charged = 0.01 WHERE reservation_id = {CHARGED}",
        "charge of EXPIRED: expected 0.50",
    ),
    "an expiry before its time": (
        "UPDATE reservations SET expires_at = ended_at + interval '1 s' WHERE state = 'EXPIRED'",
        "before its time",
    ),
    "a month that is not the day's": (
        f"UPDATE reservations SET month = '1999-01' WHERE reservation_id = {HELD}",
        "day and month do not fit",
    ),
    "a leaked hold": (
        f"UPDATE reservations SET expires_at = clock_timestamp() - interval '61 s' WHERE reservation_id = {HELD}",
        "hold not swept, overdue since 2.*Z: expected 0.00, found 0.04",
    ),
    "a rollup of another cost": (
        "UPDATE spend_rollups SET cost = cost + 0.000000001 WHERE organization = 'acme'",
        "'acme', organization, month .*: rollup of what was recorded on .*: cost: expected .*, found .*",
    ),
    "a rollup that is lost": (
        "DELETE FROM spend_rollups WHERE organization = 'charging'",
        "'charging', organization, month .*: rollup of what was recorded on .*: entries: expected .*, found nothing",
    ),
    "a mark that has gone on alone": (
        "UPDATE spend_marks SET recorded_before = recorded_before + interval '1 hour' WHERE organization = 'acme'",
        "'acme', organization, month .*: rollup of what was recorded on .*: entries: ",
    ),
    "an organization that is lost": (
        "DELETE FROM organizations WHERE organization = 'acme'",
        "'acme': rows in executions of an organization that does not exist: expected 0.00, found ",
    ),
    "a price book that is lost": (
        "UPDATE organizations SET price_version = 'gone'",
        "its price book 'gone' does not exist",
    ),
    "a time zone that nobody knows": (
        "UPDATE organizations SET time_zone = 'Mars/Olympus'",
        "its time zone 'Mars/Olympus' does not exist",
    ),
    **OVERRIDE_TAMPERINGS,
}


def tamper(url: str, *statements: str) -> None:
    """Change a database behind the ledger's back; its CHECKs would refuse most of that."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        constraints = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint c"
            " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        ).fetchall()
        for table, name in constraints:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
