"""Are sums over the billing log exact, at any instant, while executions move into the rollups?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.domain.invoices import BEGINNING, Span
from gatekeeper.domain.rollups import parts_of
from gatekeeper.domain.spend import SpendRow, Totals
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.storage.rollups import add_next, behind
from gatekeeper.storage.spend import add_up, list_dearest
from tests.conftest import url_of, verify
from tests.integration.busy_books import copied

START = datetime(2026, 10, 31, 22, 0, tzinfo=UTC)
INSERT = """
INSERT INTO executions (organization, reservation_id, kind, campaign, agent, model, day, month, committed_at, cost,
    reserved_amount, outcome, input_tokens, output_tokens, quality_score, conversions, revenue, latency, late)
VALUES (%(organization)s, %(reservation_id)s, %(kind)s, %(campaign)s, %(agent)s, %(model)s, %(day)s, %(month)s,
    %(committed_at)s, %(cost)s, %(reserved)s, %(outcome)s, %(tokens)s, %(tokens)s, %(score)s, %(tokens)s, %(reserved)s,
    %(latency)s, %(late)s)
"""
BY = st.sampled_from([("month",), ("day",), ("campaign",), ("campaign", "agent"), ("month", "day", "model")])
ZERO = Decimal(0)

entries = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["COMMIT", "COMMIT", "EXPIRY_CHARGE", "REVERSAL"]),
        "campaign": st.sampled_from(["", "spring", "autumn"]),
        "agent": st.sampled_from(["", "writer"]),
        "model": st.sampled_from(["", "gpt-4o"]),
        "month": st.sampled_from(["2026-10", "2026-11"]),
        "cost": st.integers(1, 10**18).map(lambda nanos: Decimal(nanos).scaleb(-9)),
        "reserved": st.integers(0, 10**18).map(lambda nanos: Decimal(nanos).scaleb(-9)),
        "outcome": st.sampled_from(["SUCCEEDED", "FAILED", "UNKNOWN"]),
        "tokens": st.integers(0, 1000),
        "score": st.none() | st.integers(0, 100),
        "latency": st.none() | st.integers(0, 10**9).map(lambda micros: timedelta(microseconds=micros)),
        "late": st.booleans(),
    }
)
# Batches share an instant; what is recorded goes on, or stands still where the clock did.
steps = st.sampled_from([timedelta(), timedelta(microseconds=1), timedelta(hours=1), timedelta(hours=11, minutes=59)])
batches = st.lists(st.tuples(steps, st.lists(entries, min_size=1, max_size=3), st.integers(0, 3)), max_size=14)
offsets = st.integers(-30, 200).map(lambda hours: timedelta(hours=hours)) | st.integers(0, 14)
spans = st.tuples(st.sampled_from(["2026-10", "2026-11", "2026-12"]), st.none() | offsets, offsets)


@dataclass
class Log:
    """One organization's billing log, and how to speak with the database that has it too."""

    connection: psycopg.AsyncConnection[Any]
    organization: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    instants: list[datetime] = field(default_factory=lambda: [START])

    async def record(self, step: timedelta, batch: Sequence[dict[str, Any]]) -> None:
        at = self.instants[-1] + step
        self.instants.append(at)
        for entry in batch:
            sign = -1 if entry["kind"] == "REVERSAL" else 1
            given = {
                **entry,
                "organization": self.organization,
                "reservation_id": f"r{len(self.entries)}",
                "cost": sign * entry["cost"],
                "day": f"{entry['month']}-0{1 + entry['tokens'] % 9}",
                "committed_at": at,
            }
            self.entries.append(given)
            await self.connection.execute(INSERT, given)

    def instant(self, offset: Any) -> datetime:
        """Return a round instant, or one at which something was recorded, or the next microsecond."""
        if isinstance(offset, timedelta):
            return START + offset
        at: datetime = self.instants[offset // 2 % len(self.instants)]
        return at + timedelta(microseconds=offset % 2)

    def sums(self, span: Span, by: Sequence[str]) -> list[SpendRow]:
        """Add up entry by entry."""

        def key(entry: dict[str, Any]) -> tuple[str, ...]:
            return tuple(entry[name] for name in by)

        found = [
            entry
            for entry in self.entries
            if entry["month"] == span.period and span.recorded_from <= entry["committed_at"] < span.recorded_before
        ]
        return [SpendRow(each, totals([*group])) for each, group in groupby(sorted(found, key=key), key)]


def totals(found: Sequence[dict[str, Any]]) -> Totals:
    commits = [entry for entry in found if entry["kind"] == "COMMIT"]
    signs = {"REVERSAL": -1}
    scores = [entry["score"] for entry in found if entry["score"] is not None]
    latencies = [entry["latency"] for entry in found if entry["latency"] is not None]

    def calls(*outcomes: str) -> int:
        return sum(signs.get(entry["kind"], 1) for entry in found if not outcomes or entry["outcome"] in outcomes)

    return Totals(
        entries=len(found),
        calls=calls(),
        succeeded=calls("SUCCEEDED"),
        failed=calls("FAILED"),
        unknown=calls("UNKNOWN"),
        cost=sum((entry["cost"] for entry in found), ZERO),
        late_amount=sum((entry["cost"] for entry in found if entry["late"]), ZERO),
        reserved_amount=sum((entry["reserved"] for entry in commits), ZERO),
        overage_amount=sum((max(ZERO, entry["cost"] - entry["reserved"]) for entry in commits), ZERO),
        input_tokens=sum(entry["tokens"] for entry in found),
        output_tokens=sum(entry["tokens"] for entry in found),
        conversions=sum(entry["tokens"] for entry in found),
        revenue=sum((entry["reserved"] for entry in found), ZERO),
        quality_sum=sum(scores),
        quality_scores=len(scores),
        latency_sum=sum(latencies, timedelta()),
        latencies=len(latencies),
    )


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database whose executions have no reservations."""
    with copied(postgres, template) as name:
        yield url_of(postgres, name)


Run = Callable[[Any], Any]


@pytest.fixture(scope="module")
def on_database(url: str) -> Iterator[tuple[Run, psycopg.AsyncConnection[Any]]]:
    """Connect for the module, within an event loop of its own."""
    with asyncio.Runner() as runner:
        connection = runner.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        yield runner.run, connection
        runner.run(connection.close())


numbers = iter(range(10**6))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(recorded=batches, asked=st.lists(st.tuples(spans, BY), min_size=1, max_size=4))
def test_sums_are_those_of_the_entries(
    url: str, on_database: tuple[Run, psycopg.AsyncConnection[Any]], recorded: Any, asked: Any
) -> None:
    """However much of it is in the rollups, in steps of any size, sums of any span are exact to the nano."""
    run, connection = on_database
    log = Log(connection, f"o{next(numbers)}")

    async def ask_all() -> None:
        await connection.execute("INSERT INTO organizations (organization) VALUES (%s)", (log.organization,))
        for step, batch, limit in recorded:
            await log.record(step, batch)
            if limit:
                while await add_next(connection, log.organization, limit):
                    await ask(log, asked[0])
            for each in asked:
                await ask(log, each)
        # What is final is in the rollups, and nothing is left to do.
        while await add_next(connection, log.organization, 1):
            pass
        assert log.organization not in await behind(connection)

    run(ask_all())


async def ask(log: Log, asked: Any) -> None:
    (period, begin, end), by = asked
    first, last = BEGINNING if begin is None else log.instant(begin), log.instant(end)
    if not first < last:
        return
    span = Span(period=period, recorded_from=first, recorded_before=last)
    found = await add_up(log.connection, log.organization, [span], by)
    assert found == log.sums(span, by)
    dearest = sorted(found, key=lambda row: (-row.totals.cost, row.key))
    listed: list[SpendRow] = []
    while True:
        after = (listed[-1].totals.cost, listed[-1].key) if listed else None
        page, whole = await list_dearest(log.connection, log.organization, span, by, after=after, limit=2)
        if not page:
            break
        listed += page
        assert whole == sum((row.totals.cost for row in found), ZERO)
    assert listed == dearest


def test_verification_agrees(url: str, on_database: tuple[Run, psycopg.AsyncConnection[Any]]) -> None:
    """Verification, which adds up for itself, finds nothing wrong with the rollups of all of those."""
    del on_database
    assert not [line for line in verify(url) if "rollup" in line]


@given(mark=st.none() | st.datetimes(timezones=st.just(UTC)), times=st.lists(st.datetimes(), min_size=2, max_size=2))
def test_little_is_counted(mark: datetime | None, times: list[datetime]) -> None:
    """With rollups, at most half a day is counted before the mark on each side, and nothing twice."""
    first, last = sorted(time.replace(tzinfo=UTC) for time in times)
    span = Span(period="0001-02", recorded_from=first, recorded_before=last)
    parts = parts_of(span, mark)
    if mark is not None and parts.dates is not None:
        for edge in parts.edges:
            assert edge.recorded_before <= max(mark, last)
            assert edge.recorded_from >= mark or edge.recorded_before - edge.recorded_from <= timedelta(hours=12)
