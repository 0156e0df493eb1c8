"""How is the audit trail listed? Events and denials as one, newest first, by keyset, each with its link."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import sql

from gatekeeper.domain.audit import AuditAction, AuditSource
from gatekeeper.domain.money import plain

from . import audit, rows
from .connections import Connection

# A page of one table in the order of its newest-first index, behind a position in it, with links by the chain's index.
PAGE = """
SELECT t.{id}, t.{instant}, t.caller, t.actor, t.actor_role, t.peer, c.sequence, c.link, {columns}
FROM {table} t LEFT JOIN LATERAL (
    SELECT sequence, link FROM audit_chain
    WHERE organization = t.organization AND source = {source} AND source_id = t.{id} OFFSET 0
) AS c ON true
WHERE t.organization = %(organization)s AND {conditions}
ORDER BY t.{instant} DESC, t.{id} DESC LIMIT %(limit)s
"""
BIGINT_MAX = 2**63 - 1

# What a call was for, but for its task: that is a text of the caller's own.
_FOR = tuple(name for name in rows.ATTRIBUTION_TYPES if name != "task")
_ACTIONS = {action.value: action for action in AuditAction}
_INSTANTS = {AuditSource.EVENT: "occurred_at", AuditSource.DENIAL: "denied_at"}
_COLUMNS = {
    AuditSource.EVENT: ("action", "subject", "before", "after", "reason"),
    AuditSource.DENIAL: (
        "reservation_id",
        "reason",
        "requested",
        "shortfall",
        *rows.KEY_TYPES,
        *_FOR,
        "model",
        "headroom_at",
    ),
}

# Where a page ended: the entries behind it are older, or of the same instant and below in source and number.
Position = tuple[datetime, AuditSource, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilters:
    """Which entries are listed: by one actor, of one kind, from `since` on and before `until`."""

    action: AuditAction | None = None
    actor: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An event or denial as it was recorded, and its place in the chain (0 and no link until it is chained).

    Without an `action`, it is one that this version does not know.
    """

    source: AuditSource
    source_id: int
    organization: str
    occurred_at: datetime
    action: AuditAction | None
    actor: str
    actor_token_id: str
    actor_role: str
    peer: str
    subject: str
    before_json: str
    after_json: str
    reason: str
    sequence: int
    link: bytes

    @property
    def position(self) -> Position:
        """Return what lists go by."""
        return self.occurred_at, self.source, self.source_id


async def list_entries(
    connection: Connection, organization: str, filters: AuditFilters, *, after: Position | None, limit: int
) -> list[AuditEntry]:
    """Return entries behind `after`, newest first."""
    found: list[AuditEntry] = []
    for source in AuditSource:
        if filters.action is None or (filters.action is AuditAction.CALL_DENIED) == (source is AuditSource.DENIAL):
            statement, parameters = _page(source, filters, after)
            parameters |= {"organization": organization, "limit": limit}
            cursor = await connection.execute(statement, parameters, binary=True)
            found += [_entry(source, organization, row) for row in await cursor.fetchall()]
    return sorted(found, key=lambda entry: entry.position, reverse=True)[:limit]


def _page(source: AuditSource, filters: AuditFilters, after: Position | None) -> tuple[sql.Composed, dict[str, Any]]:
    id_, instant = sql.Identifier(audit.IDS[source]), sql.Identifier(_INSTANTS[source])
    parameters: dict[str, Any] = {}
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if filters.action is not None and source is AuditSource.EVENT:
        conditions.append(sql.SQL("t.action = %(action)s"))
        parameters["action"] = filters.action.value
    if filters.actor:
        conditions.append(sql.SQL("t.actor = %(actor)s"))
        parameters["actor"] = filters.actor
    if filters.since is not None:
        conditions.append(sql.SQL("t.{} >= %(since)s").format(instant))
        parameters["since"] = filters.since
    if filters.until is not None:
        conditions.append(sql.SQL("t.{} < %(until)s").format(instant))
        parameters["until"] = filters.until
    if after is not None:
        conditions.append(sql.SQL("(t.{}, t.{}) < (%(after)s, %(after_id)s::bigint)").format(instant, id_))
        parameters |= {"after": after[0], "after_id": _bound(source, after)}
    return sql.SQL(PAGE).format(
        id=id_,
        instant=instant,
        columns=sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in _COLUMNS[source]),
        table=sql.Identifier(audit.TABLES[source]),
        source=sql.Literal(source.value),
        conditions=sql.SQL(" AND ").join(conditions),
    ), parameters


def _bound(source: AuditSource, after: Position) -> int:
    """Return below which number entries of a position's instant come behind it: all of a source, none, or some."""
    if source is after[1]:
        return after[2]
    return BIGINT_MAX if source < after[1] else -BIGINT_MAX


def _entry(source: AuditSource, organization: str, row: Sequence[Any]) -> AuditEntry:
    source_id, occurred_at, caller, actor, actor_role, peer, sequence, link, *columns = row
    named = dict(zip(_COLUMNS[source], columns, strict=True))
    return AuditEntry(
        source=source,
        source_id=source_id,
        organization=organization,
        occurred_at=occurred_at,
        actor=actor,
        actor_token_id=caller,
        actor_role=actor_role,
        peer=peer,
        sequence=sequence or 0,
        link=link or b"",
        **(_event(named) if source is AuditSource.EVENT else _denial(named)),
    )


def _event(named: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "action": _ACTIONS.get(named["action"]),
        "subject": named["subject"],
        "before_json": named["before"] or "",
        "after_json": named["after"] or "",
        "reason": named["reason"],
    }


def _denial(named: Mapping[str, Any]) -> dict[str, Any]:
    """Tell of a denial as of an event: what was asked, and why not."""
    told = {name: named[name] for name in ("reason", *_FOR, "model")}
    told |= {name: plain(Decimal(named[name])) for name in ("requested", "shortfall")}
    told |= {"budget": _budget(named), "headroom_time": named["headroom_at"] and named["headroom_at"].isoformat()}
    return {
        "action": AuditAction.CALL_DENIED,
        "subject": f"reservation {named['reservation_id']!r}",
        "before_json": "",
        "after_json": json.dumps(
            {name: text for name, text in told.items() if text}, sort_keys=True, ensure_ascii=False
        ),
        "reason": "",
    }


def _budget(named: Mapping[str, Any]) -> str:
    if not named["scope_kind"]:
        return ""
    scope = f"{named['scope_kind'].lower()} {named['scope_id']!r}" if named["scope_id"] else "organization"
    return f"{scope}, {named['budget_window'].lower()} {named['period']}"
