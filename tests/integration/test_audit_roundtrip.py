"""Does PostgreSQL give back, to the letter, what was sealed?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.admission import DenialReason, Denied
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditSource
from gatekeeper.domain.reservation import Attribution
from gatekeeper.domain.verdicts import Denial
from gatekeeper.services.audit_seals import Seals, SealState
from gatekeeper.storage import audit
from gatekeeper.storage.connections import Connection
from tests.integration.trails import KEY, as_superuser, connected, denial, deny, differences, make_trail

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
AMOUNTS = st.decimals(0, Decimal("1e15"), places=9) | st.decimals(0, 1, places=12)
ACTORS = st.builds(Actor, st.builds(Caller, caller_id=TEXTS, name=TEXTS, role=st.sampled_from(Role)), TEXTS)
CONTENTS = st.none() | st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3)
EVENTS = st.builds(
    AuditEvent,
    action=st.sampled_from(AuditAction),
    actor=ACTORS,
    subject=TEXTS,
    occurred_at=INSTANTS,
    before=CONTENTS,
    after=CONTENTS,
    reason=TEXTS,
)
DENIALS = st.builds(
    denial,
    reservation_id=TEXTS,
    attribution=st.builds(Attribution, *[TEXTS] * 6),
    model=TEXTS,
    denied=st.builds(Denied, st.sampled_from(DenialReason), st.none(), AMOUNTS),
    requested=AMOUNTS,
    denied_at=INSTANTS,
    actor=ACTORS,
    headroom_at=st.none() | INSTANTS,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(written=EVENTS, refused=DENIALS)
def test_any_content_comes_back(database_url: str, written: AuditEvent, refused: Denial) -> None:
    """Whatever is written, PostgreSQL gives back what its seal covers to the letter, in any session's time zone."""

    async def work(zone: str) -> list[SealState]:
        async with connected(database_url) as connection, connection.transaction(force_rollback=True):
            await connection.execute(f"SET LOCAL TimeZone = '{zone}'")
            await connection.execute("SET LOCAL DateStyle = 'German'")
            await audit.write_event(connection, "acme", written, KEY)
            await deny(connection, "acme", [refused])
            return [await _state(connection, source) for source in AuditSource]

    assert asyncio.run(work("Asia/Kathmandu")) == [SealState.RIGHT] * 2


@pytest.mark.parametrize("instant", ["-infinity", "infinity", "0044-03-15 BC", "12026-11-20", "2026-11-20 BC"])
def test_instants_that_python_does_not_know(database_url: str, instant: str) -> None:
    """An instant beyond all calendars is read and found to be wrong, like any other that was put there."""
    asyncio.run(make_trail(database_url, rows_each=1))
    as_superuser(database_url, f"UPDATE audit_events SET occurred_at = '{instant}'")
    assert differences(database_url) == ["'acme': link 1: event 1: it was changed, for its seal does not fit"]


async def _state(connection: Connection, source: AuditSource) -> SealState:
    cursor = await connection.execute(
        f"SELECT t.seal, {audit.content_columns(source, 't')} FROM {audit.TABLES[source]} t".encode()
    )
    row = await cursor.fetchone()
    assert row is not None
    return Seals(KEY).state(audit.content(source, row[1:]), row[0])
