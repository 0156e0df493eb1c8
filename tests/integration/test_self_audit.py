"""Do the servers verify by themselves, one at a time, and tell what is wrong?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import DatabaseUnavailable
from gatekeeper.domain.schedule import Schedule
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services import self_audit
from gatekeeper.services.self_audit import SelfAudit
from gatekeeper.storage.verifications import EXAMPLE_LENGTH_MAX
from gatekeeper_client import Client, Hold
from tests.conftest import Server, ServerFactory, served_url, url_of
from tests.contract.wire import until
from tests.integration.busy_books import copied
from tests.integration.tamperings import tamper
from tests.integration.trails import pooled

EVERY_SECOND = {"GATEKEEPER_VERIFY_INTERVAL_S": "1"}
FOUND = "SELECT started_at, finished_at, differences, audit_differences, example FROM verifications ORDER BY 1"
TOLD = """
SELECT organization, subject, message FROM alerts WHERE kind = 'VERIFICATION_FAILED' ORDER BY alert_id
"""
# Whoever verifies the books reads it, and nothing else does meanwhile.
BARRIER = "LOCK TABLE excesses IN ACCESS EXCLUSIVE MODE"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
IN_TURN = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objid = 3 AND objsubid = 2
"""
NIGHTLY = Schedule(interval=timedelta(days=1), at=time(3))
A_DAY_AGO = "UPDATE organizations SET created_at = created_at - interval '25 h'"


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def spend(address: str) -> None:
    with Client(address) as client:
        hold = client.reserve("acme", amount="1")
        assert isinstance(hold, Hold)
        hold.commit(amount="1")


def logged(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    lines = [line for path in tmp_path.glob("server-*.log") for line in path.read_text().splitlines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in events if event["event"] == name]


def test_sound_books(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Two servers verify again and again, one after another, and write down that nothing is wrong."""
    first, _ = [start_server(database_url=database_url, **EVERY_SECOND) for _ in range(2)]
    spend(first.address)
    until(lambda: len(rows(database_url, FOUND)) >= 3)
    found = rows(database_url, FOUND)
    assert {row[2:] for row in found} == {(0, 0, "")}
    for before, after in pairwise(found):
        assert after[0] >= before[0] + timedelta(seconds=1)
        assert after[0] >= before[1]
    assert rows(database_url, TOLD) == []
    until(lambda: len(logged(tmp_path, "self_audit.passed")) >= 3)
    assert {event["level"] for event in logged(tmp_path, "self_audit.passed")} == {"info"}


def test_not_due(start_server: ServerFactory, database_url: str) -> None:
    """What is done once a day or once an hour is not done where the first organization was opened just now."""
    server = start_server(database_url=database_url, GATEKEEPER_VERIFY_INTERVAL_S="0")
    assert look_now(database_url) == 0
    spend(server.address)
    with psycopg.connect(database_url) as connection:
        # What is done at a time of day would be due if this test ran at that time.
        connection.execute("UPDATE organizations SET created_at = clock_timestamp()")
    later = (datetime.now(UTC) + timedelta(hours=12)).time()
    for interval in (timedelta(days=1), timedelta(hours=1)):
        assert look_now(database_url, Schedule(interval=interval, at=later)) == 0
    assert rows(database_url, FOUND) == []


ORPHAN = (
    "(organization, reservation_id, reason, requested, shortfall, denied_at, caller, actor, actor_role, peer)"
    " VALUES ('{name}', 'r', 'OUT_OF_BUDGET', 1, 1, clock_timestamp(), '', '', '', '')"
)


def rows_of(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def look_now(url: str, schedule: Schedule = NIGHTLY) -> int:
    """Look as a server does that has been running for a while."""

    async def look() -> int:
        async with pooled(url) as pool:
            audit = SelfAudit(pool, served_url(url), AuditKey(), schedule)
            audit._not_before = 0
            return await audit.look()

    return asyncio.run(look())


@pytest.fixture
def books(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database whose books may be wrong."""
    with copied(postgres, template) as name:
        yield url_of(postgres, name)


def test_differences_are_told(start_server: ServerFactory, books: str, tmp_path: Path) -> None:
    """What is wrong in the books and in the trail is counted, logged, and told once for each verification."""
    server = start_server(database_url=books, **EVERY_SECOND)
    spend(server.address)
    until(lambda: rows(books, "SELECT count(*) FROM audit_chain") == [(1,)])
    long = "x" * 600
    tamper(books, "UPDATE balances SET spent = 7", f"UPDATE audit_events SET reason = '{long}'")
    until(lambda: any(row[2] for row in rows(books, FOUND)))
    server.stop()
    failed = [row for row in rows(books, FOUND) if row[2]]
    assert {row[2:4] for row in failed} == {(1, 1)}
    assert failed[0][4].startswith("'acme', organization, month ")
    assert failed[0][4].endswith(": spent: expected 1.00, found 7.00")
    told = rows(books, TOLD)
    assert len(told) == len(failed)
    assert len({row[1] for row in told}) == len(told)
    assert told[0][0] == ""
    assert told[0][2] == (
        f"Verification has found 1 differences in the books and 1 in the audit trail, such as: {failed[0][4]}."
        " To see all of them: gatekeeper verify, gatekeeper verify --audit"
    )
    events = logged(tmp_path, "self_audit.differences")
    assert len(events) == len(failed)
    assert {(event["level"], event["differences"], event["audit_differences"]) for event in events} == {("error", 1, 1)}


def test_example_is_cut(books: str) -> None:
    """An example is no longer than what a row may hold."""
    name = "n" * 2000
    rows_of(books, f"INSERT INTO denials {ORPHAN.format(name=name)}", "INSERT INTO organizations VALUES ('acme')")
    rows_of(books, A_DAY_AGO)
    assert look_now(books) == 1
    (found,) = rows(books, FOUND)
    assert len(found[4]) == EXAMPLE_LENGTH_MAX
    assert len(rows(books, TOLD)[0][2]) < EXAMPLE_LENGTH_MAX + 200


def test_settling(books: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a start, and for a while after it failed, a process leaves it alone."""
    monkeypatch.setattr(self_audit, "SETTLE_MAX_S", 0)
    rows_of(books, "INSERT INTO organizations VALUES ('acme')", A_DAY_AGO)

    async def look() -> None:
        async with pooled(books) as pool:
            audit = SelfAudit(pool, "postgresql://nobody@127.0.0.1:1/none", AuditKey(), NIGHTLY)
            with pytest.raises(DatabaseUnavailable):
                await audit.look()
            assert await audit.look() == 0
            assert await SelfAudit(pool, served_url(books), AuditKey(), NIGHTLY).look() == 0

    asyncio.run(look())
    assert [row[2:] for row in rows(books, FOUND)] == [(0, 0, "")]


def test_another_takes_over(start_server: ServerFactory, database_url: str) -> None:
    """If the process that verifies is killed or stopped in the middle, another one does it."""

    def start_verifying() -> Server:
        verifying = start_server(database_url=database_url, **EVERY_SECOND)
        until(lambda: rows(database_url, IN_TURN) == [(1,)])
        return verifying

    server = start_server(database_url=database_url, GATEKEEPER_VERIFY_INTERVAL_S="0")
    spend(server.address)
    with psycopg.connect(database_url) as barrier:
        barrier.execute(BARRIER)
        killed = start_verifying()
        until(lambda: rows(database_url, WAITING)[0][0] == 1)
        killed.kill()
        until(lambda: rows(database_url, IN_TURN) == [(0,)])
        assert start_verifying().stop() == 0
        until(lambda: rows(database_url, IN_TURN) == [(0,)])
        start_verifying()
        assert rows(database_url, FOUND) == []
    until(lambda: rows(database_url, FOUND))
    assert rows(database_url, FOUND)[0][2:] == (0, 0, "")
