"""What do tests of the audit trail write and read? Events and denials as the server writes them, and their chains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.admission import DenialReason, Denied
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey
from gatekeeper.domain.budget import Balance, BalanceKey, Enforcement, Scope, ScopeKind
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution
from gatekeeper.domain.verdicts import Denial
from gatekeeper.services.audit_chain import chain
from gatekeeper.services.audit_verification import AuditVerification, ChainHead, verify_trail
from gatekeeper.storage import audit, rows
from gatekeeper.storage.audit_chain import Unchained
from gatekeeper.storage.connections import Connection, Pool, open_pool

KEY = AuditKey(b"k" * 32)
KEYLESS = AuditKey()
# Long ago: what was written then has waited too long for its link.
NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)
ADA = Actor(Caller(caller_id="7", name="ada", role=Role.ADMIN), "ipv4:127.0.0.1:9")
INSERT_DENIALS = (
    f"INSERT INTO denials (organization, {rows.DENIAL_COLUMNS})"
    f" SELECT %s, {rows.DENIAL_VALUES} FROM json_to_recordset(%s) AS r({rows.DENIAL_TYPES})"
)
SPRING = Balance(
    BalanceKey(Scope(ScopeKind.CAMPAIGN, "spring"), Window.MONTH, "2025-11"),
    Decimal(5),
    Enforcement.ENFORCE,
    False,
    Decimal(0),
    Decimal(5),
    Decimal(0),
    0,
)


def event(number: int = 0, **fields: Any) -> AuditEvent:
    """Return a change, so many seconds after noon."""
    told = {
        "action": AuditAction.BUDGET_SET,
        "actor": ADA,
        "subject": f"campaign 'c{number}', MONTH",
        "occurred_at": NOON + timedelta(seconds=number),
        "before": {"cap": "1.00"},
        "after": {"cap": f"{number}.00"},
        "reason": "it sells",
    }
    return AuditEvent(**{**told, **fields})


def denial(number: int = 0, **fields: Any) -> Denial:
    """Return a denial, so many seconds and a half after noon."""
    told: dict[str, Any] = {
        "reservation_id": f"r-{number}",
        "attribution": Attribution("", "spring", "writer", "run 1", "", ""),
        "model": "opus",
        "denied": Denied(DenialReason.OUT_OF_BUDGET, SPRING, Decimal("0.25")),
        "requested": Decimal("1.5"),
        "message": "",
        "balances": (),
        "denied_at": NOON + timedelta(seconds=number + 0.5),
        "actor": ADA,
    }
    return Denial(**{**told, **fields})


async def deny(
    connection: Connection, organization: str, denials: Sequence[Denial], key: AuditKey | None = KEY
) -> None:
    """Write denials as the hot path does; without a key, as before there was a trail."""
    records = [rows.of_denial(entry) for entry in denials]
    sealed = [{**record, "seal": key and audit.denial_seal(organization, record, key).hex()} for record in records]
    await connection.execute(INSERT_DENIALS, (organization, rows.as_json(sealed)))


async def open_organizations(connection: Connection, *names: str) -> None:
    """Let there be organizations."""
    for name in names:
        await connection.execute("INSERT INTO organizations (organization) VALUES (%s) ON CONFLICT DO NOTHING", (name,))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Yield a connection of its own."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def pooled(url: str, size: int = 2) -> AsyncIterator[Pool]:
    """Yield a pool like the server's."""
    async with open_pool(url, name="test", size_max=size, hot=False) as pool:
        yield pool


async def ignore(_chained: Sequence[Unchained]) -> None:
    """Take what nobody wants to know."""


async def chain_all(url: str, key: AuditKey = KEY) -> int:
    """Chain until nothing is left; return how many links were made."""
    links = 0
    async with pooled(url) as pool:
        while made := await chain(pool, key, ignore):
            links += made
    return links


async def make_trail(url: str, organization: str = "acme", key: AuditKey = KEY, *, rows_each: int = 4) -> None:
    """Make a chain of events and denials that take turns."""
    async with connected(url) as connection:
        await open_organizations(connection, organization)
        for number in range(rows_each):
            await audit.write_event(connection, organization, event(number), key)
        await deny(connection, organization, [denial(number) for number in range(rows_each)], key)
    await chain_all(url, key)


def verified(
    url: str, key: AuditKey = KEY, *, organization: str | None = None, kept: Sequence[ChainHead] = ()
) -> AuditVerification:
    """Verify a trail."""
    return asyncio.run(verify_trail(url, key, organization=organization, kept=kept))


def differences(url: str, key: AuditKey = KEY, *, kept: Sequence[ChainHead] = ()) -> list[str]:
    """Return what is wrong with a trail."""
    return [str(difference) for difference in verified(url, key, kept=kept).differences]


def as_superuser(url: str, *statements: str) -> None:
    """Execute statements as one who can switch every trigger off."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def select(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Return what a statement finds."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()
