"""What do tests of invoices on disk start from? Books whose calls were made a month ago, and invoices over them."""

from __future__ import annotations

import psycopg

# Behind the ledger's back, but in every table that tells of it.
PERIODS_BACK = """
UPDATE {table} SET day = to_char(day::date - interval '1 month', 'YYYY-MM-DD'),
    month = to_char((month || '-01')::date - interval '1 month', 'YYYY-MM')
"""
# The latest day of a month that is shorter is the day of several: only what is by month is kept.
BALANCES_BACK = """
UPDATE balances SET period = to_char((period || '-01')::date - interval '1 month', 'YYYY-MM')
WHERE budget_window = 'MONTH'
"""


def move_a_month_back(database_url: str) -> None:
    """Let all calls so far count for the month before."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in ("executions", "reservations"):
            connection.execute(PERIODS_BACK.format(table=table).encode())
        connection.execute(BALANCES_BACK.encode())
