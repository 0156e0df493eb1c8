"""How is an audit event written, and what exactly does a row's seal cover?

Every column but the row's number and the seal itself, as text: instants in UTC with microseconds, amounts with nine
digits behind the point, NULL as None. The writer seals its values in this form, the reader lets PostgreSQL return the
row's values in the same form, and a test holds both together for every column that the tables have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from gatekeeper.domain.audit import AuditEvent, AuditKey, AuditSource, Content
from gatekeeper.domain.money import NANO

from . import rows
from .connections import Connection

_WHO = dict.fromkeys(("caller", "actor", "actor_role", "peer"), "text")
_EVENT = {
    "action": "text",
    "occurred_at": "timestamptz",
    **_WHO,
    "subject": "text",
    "before": "text",
    "after": "text",
    "reason": "text",
}
_DENIAL = {name: kind for name, kind in rows.DENIAL.items() if name != "seal"}
_SEALED = {AuditSource.EVENT: _EVENT, AuditSource.DENIAL: _DENIAL}

# For json_to_recordset, as in `rows`; the seal travels in hex.
EVENT_COLUMNS = ", ".join((*_EVENT, "seal"))
EVENT_TYPES = ", ".join(f"{name} {kind}" for name, kind in {**_EVENT, "seal": "text"}.items())
EVENT_VALUES = EVENT_COLUMNS.replace("seal", "decode(seal, 'hex')")

TABLES = {AuditSource.EVENT: "audit_events", AuditSource.DENIAL: "denials"}
IDS = {AuditSource.EVENT: "event_id", AuditSource.DENIAL: "denial_id"}

# What a seal covers of a row, by name and in the order of `content_columns`.
CONTENT_NAMES = {source: ("organization", *columns) for source, columns in _SEALED.items()}

# Instants that Python has no name for keep PostgreSQL's own, so that every one of them reads as itself.
_READ = {
    "text": "{column}",
    "numeric": "{column}::text",
    "timestamptz": "CASE WHEN {column} >= '0001-01-01 00:00:00+00' AND {column} < 'infinity'"
    """ THEN to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') ELSE {column}::text END""",
}
# NUMERIC(28,9) rounds what has more digits away from zero at the half.
_NANOS = Context(prec=60, rounding=ROUND_HALF_UP)

# Writes one event.
INSERT_EVENT = f"""
INSERT INTO audit_events (organization, {EVENT_COLUMNS})
SELECT %s, {EVENT_VALUES} FROM json_to_recordset(%s) AS r({EVENT_TYPES})
"""


async def write_event(connection: Connection, organization: str, event: AuditEvent, key: AuditKey) -> None:
    """Write an event, sealed, in the transaction that changes what it tells of."""
    await connection.execute(INSERT_EVENT, (organization, rows.as_json([event_record(organization, event, key)])))


def event_record(organization: str, event: AuditEvent, key: AuditKey) -> dict[str, Any]:
    """Write an event as the row that EVENT_TYPES describe, with its seal in hex; the organization stands beside it."""
    caller = event.actor.caller
    record = {
        "action": event.action,
        "occurred_at": _instant(event.occurred_at),
        "caller": caller.caller_id,
        "actor": _storable(caller.name),
        "actor_role": caller.role,
        "peer": _storable(event.actor.peer),
        "subject": _storable(event.subject),
        "before": _json(event.before),
        "after": _json(event.after),
        "reason": _storable(event.reason),
    }
    return {**record, "seal": key.seal({"organization": organization, **record}).hex()}


def denial_seal(organization: str, record: Mapping[str, Any], key: AuditKey) -> bytes:
    """Return the seal of a denial's row; `record` is what `rows.of_denial` returns, and who was denied."""
    content = {"organization": organization, **{name: record[name] for name in _DENIAL}}
    content["requested"] = _amount(record["requested"])
    content["shortfall"] = _amount(record["shortfall"])
    content["denied_at"] = _instant(datetime.fromisoformat(record["denied_at"]))
    if record["headroom_at"]:
        content["headroom_at"] = _instant(datetime.fromisoformat(record["headroom_at"]))
    return key.seal(content)


def content_columns(source: AuditSource, table: str) -> str:
    """Return the columns to read of a row of `table` (an alias) for `content`; each is text or NULL."""
    kinds = {"organization": "text", **_SEALED[source]}
    return ", ".join(_READ[kind].format(column=f"{table}.{name}") for name, kind in kinds.items())


def content(source: AuditSource, columns: Sequence[str | None]) -> Content:
    """Return what a seal covers, from the columns that `content_columns` reads."""
    return dict(zip(CONTENT_NAMES[source], columns, strict=True))


def content_width(sources: Iterable[AuditSource]) -> int:
    """Return how many columns the content of these takes together."""
    return sum(len(CONTENT_NAMES[source]) for source in sources)


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _amount(amount: str) -> str:
    """Write an amount as NUMERIC(28,9) prints it, which knows no minus zero."""
    nanos = Decimal(amount).quantize(NANO, context=_NANOS)
    return f"{nanos or NANO * 0:f}"


def _json(content: Content | None) -> str | None:
    if content is None:
        return None
    return _storable(json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def _storable(text: str) -> str:
    """Replace what PostgreSQL's text cannot hold: a command line may bring anything."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
