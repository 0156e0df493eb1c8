"""How are alerts written and listed? Their rows are an outbox, in the transaction that each tells of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from gatekeeper.domain.alert_deliveries import Delivery, DeliveryState, Notice, ToldAlert
from gatekeeper.domain.alerts import Alert, AlertBasis, AlertKind
from gatekeeper.domain.budget import BalanceKey, Scope, ScopeKind
from gatekeeper.domain.periods import Window

from . import rows
from .connections import Connection
from .roundtrip import Statement, roundtrip

# Writes alerts; one that was written before stays as it is, by the unique index. Locks nothing that anybody waits for
# but that index, against whoever writes the very same alert.
INSERT_ALERTS = Statement(
    "insert_alerts",
    f"""
INSERT INTO alerts (organization, {rows.ALERT_COLUMNS})
SELECT $1, {rows.ALERT_COLUMNS} FROM json_to_recordset($2) AS r({rows.ALERT_TYPES})
ON CONFLICT DO NOTHING
RETURNING alert_id
""",
)

# What `notice` reads, of an alert `a` and its organization `o`.
NOTICE_COLUMNS = ", ".join(
    (
        "a.organization",
        "a.alert_id",
        "coalesce(o.currency, '')",
        *(f"a.{name}" for name in rows.ALERT_COLUMNS.split(", ")),
    )
)

# Reads alerts of an organization behind a number, the newest first, by the primary key, with their deliveries by
# theirs. No lock; one snapshot.
PAGE = f"""
WITH page AS MATERIALIZED (
    SELECT a.* FROM alerts a
    WHERE a.organization = %(organization)s AND {{conditions}}
    ORDER BY a.alert_id DESC LIMIT %(limit)s
)
SELECT d.channel, d.state, d.attempts, d.next_attempt_at, d.delivered_at, d.last_error, {NOTICE_COLUMNS}
FROM page a
LEFT JOIN organizations o ON o.organization = a.organization
LEFT JOIN alert_deliveries d ON d.organization = a.organization AND d.alert_id = a.alert_id
ORDER BY a.alert_id DESC, d.channel
"""
OF_STATE = """
EXISTS (
    SELECT FROM alert_deliveries d
    WHERE d.organization = a.organization AND d.alert_id = a.alert_id AND d.state = %(state)s
)
"""
DELIVERY_WIDTH = 6


async def write_alerts(connection: Connection, organization: str, alerts: Sequence[Alert]) -> list[int]:
    """Write alerts in the transaction that they tell of; return the ids of those that were not told before."""
    document = rows.as_json([rows.of_alert(alert) for alert in alerts])
    written = await roundtrip(connection, (INSERT_ALERTS, (organization, document)))
    return [row[0] for row in written[0]]


async def list_alerts(
    connection: Connection,
    organization: str,
    *,
    kind: AlertKind | None,
    state: DeliveryState | None,
    after: int | None,
    limit: int,
) -> list[ToldAlert]:
    """Return alerts with lower ids than `after`, the newest first, with how far each has come."""
    conditions = [sql.SQL("true")]
    conditions += [sql.SQL("a.kind = %(kind)s")] * (kind is not None)
    conditions += [sql.SQL(OF_STATE)] * (state is not None)
    conditions += [sql.SQL("a.alert_id < %(after)s")] * (after is not None)
    parameters = {"organization": organization, "kind": kind, "state": state, "after": after, "limit": limit}
    page = sql.SQL(PAGE).format(conditions=sql.SQL(" AND ").join(conditions))
    return _told(await (await connection.execute(page, parameters)).fetchall())


def _told(found: Iterable[Sequence[Any]]) -> list[ToldAlert]:
    notices: dict[int, Notice] = {}
    deliveries: dict[int, list[Delivery]] = {}
    for row in found:
        told = notice(row[DELIVERY_WIDTH:])
        notices[told.alert_id] = told
        on_channels = deliveries.setdefault(told.alert_id, [])
        if row[0] is not None:
            on_channels.append(_delivery(row[:DELIVERY_WIDTH]))
    return [ToldAlert(notice=told, deliveries=deliveries[alert_id]) for alert_id, told in notices.items()]


def _delivery(row: Sequence[Any]) -> Delivery:
    channel, state, attempts, next_attempt_at, delivered_at, last_error = row
    return Delivery(
        channel=channel,
        state=DeliveryState(state),
        attempts=attempts,
        next_attempt_at=next_attempt_at,
        delivered_at=delivered_at,
        last_error=last_error,
    )


def notice(row: Sequence[Any]) -> Notice:
    """Read the NOTICE_COLUMNS of a row."""
    organization, alert_id, currency, *columns = row
    return Notice(alert_id=alert_id, organization=organization, currency=currency, alert=_alert(columns))


def _alert(row: Sequence[Any]) -> Alert:
    """Read the ALERT_COLUMNS of a row."""
    (kind, scope_kind, scope_id, window, period, basis, threshold, round_, subject, message, cap, spent, reserved,
     occurred_at) = row  # fmt: skip
    return Alert(
        kind=AlertKind(kind),
        message=message,
        occurred_at=occurred_at,
        key=BalanceKey(Scope(ScopeKind(scope_kind), scope_id), Window(window), period) if scope_kind else None,
        basis=AlertBasis(basis) if basis else None,
        threshold=threshold,
        round=round_,
        subject=subject,
        cap=cap,
        spent=spent,
        reserved=reserved,
    )
