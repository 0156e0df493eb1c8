"""Is everything that is written chained, once, in order, whoever chains and however late it is committed?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest
import structlog

from gatekeeper.domain.audit import AuditKey, AuditSource
from gatekeeper.services import audit_chain
from gatekeeper.services.audit_chain import AuditChain, chain, chain_forever
from gatekeeper.services.audit_seals import warn_of_other_key
from gatekeeper.storage import audit
from gatekeeper.storage.audit_chain import Unchained
from gatekeeper.storage.connections import Connection
from tests.integration.trails import (
    KEY,
    KEYLESS,
    as_superuser,
    chain_all,
    connected,
    denial,
    deny,
    differences,
    event,
    ignore,
    make_trail,
    open_organizations,
    pooled,
    select,
    verified,
)

ORDER = "SELECT source, source_id FROM audit_chain WHERE organization = 'acme' ORDER BY sequence"


def test_order(database_url: str) -> None:
    """A pass chains events and denials in the order of their time, and each organization's apart."""
    asyncio.run(make_trail(database_url))
    asyncio.run(make_trail(database_url, "other", rows_each=2))
    sources = [source for source, _ in select(database_url, ORDER)]
    assert sources == ["EVENT", "DENIAL"] * 4
    found = verified(database_url)
    assert found.differences == []
    assert [(head.organization, head.sequence) for head in found.heads] == [("acme", 8), ("other", 4)]
    assert (found.links, found.pending) == (12, 0)


def test_nothing_to_chain(database_url: str) -> None:
    """A pass over a trail that is chained does nothing, and one over no trail neither."""
    assert asyncio.run(chain_all(database_url)) == 0
    asyncio.run(make_trail(database_url))
    before = select(database_url, "SELECT * FROM audit_chain ORDER BY sequence")
    assert asyncio.run(chain_all(database_url)) == 0
    assert select(database_url, "SELECT * FROM audit_chain ORDER BY sequence") == before


def test_installation_has_a_chain(database_url: str) -> None:
    """What concerns no organization has a chain of its own."""

    async def write() -> None:
        async with connected(database_url) as connection:
            await audit.write_event(connection, "", event(), KEY)
        await chain_all(database_url)

    asyncio.run(write())
    found = verified(database_url)
    assert [(head.organization, head.sequence) for head in found.heads] == [("", 1)]


def test_what_is_chained_is_told_once(database_url: str) -> None:
    """Whoever chains an event or a denial is told of it, after it is chained, with all that its seal covers."""
    told: list[Unchained] = []

    async def tell(chained: Sequence[Unchained]) -> None:
        async with connected(database_url) as connection:
            cursor = await connection.execute("SELECT count(*) FROM audit_chain")
            row = await cursor.fetchone()
        assert row is not None
        assert row[0] >= len(told) + len(chained)
        told.extend(chained)

    async def work() -> None:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme")
            await deny(connection, "acme", [denial(number) for number in range(5)])
            await audit.write_event(connection, "acme", event(), KEY)
            assert await chain(pool, KEY, tell) == 6
            assert await chain(pool, KEY, tell) == 0

    asyncio.run(work())
    changed, *denied = told
    assert (changed.source, changed.content["subject"]) == (AuditSource.EVENT, event().subject)
    assert [row.content["reservation_id"] for row in denied] == [f"r-{number}" for number in range(5)]
    assert denied[0].content["requested"] == "1.500000000"
    assert denied[0].content["organization"] == "acme"


def test_late_commit_with_a_lower_number(database_url: str) -> None:
    """A row that is committed after one with a higher number is chained all the same: the other one waits for it."""

    async def work() -> list[int]:
        async with connected(database_url) as early, connected(database_url) as late, pooled(database_url) as pool:
            await open_organizations(early, "acme")
            async with late.transaction():
                await audit.write_event(late, "acme", event(1), KEY)
                await audit.write_event(early, "acme", event(2), KEY)
                chaining = asyncio.create_task(chain(pool, KEY, ignore))
                await _asks(early, "pg_locks")
                assert not chaining.done()
            return [await chaining, await chain(pool, KEY, ignore)]

    assert asyncio.run(work()) == [2, 0]
    assert select(database_url, ORDER) == [("EVENT", 1), ("EVENT", 2)]
    assert differences(database_url) == []


def test_aborted_numbers(database_url: str) -> None:
    """Numbers whose rows never come leave no gap in the chain."""

    async def work() -> None:
        async with connected(database_url) as one, connected(database_url) as other:
            await open_organizations(one, "acme")
            async with other.transaction(force_rollback=True):
                await audit.write_event(other, "acme", event(1), KEY)
                await audit.write_event(one, "acme", event(2), KEY)
        await chain_all(database_url)

    asyncio.run(work())
    assert select(database_url, ORDER) == [("EVENT", 2)]
    assert differences(database_url) == []


def test_endless_transaction(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chained past a transaction that does not end, and all of it once it has."""
    monkeypatch.setattr(audit_chain, "WRITERS_PATIENCE_S", 0.05)

    async def work() -> list[int]:
        async with connected(database_url) as one, connected(database_url) as other, pooled(database_url) as pool:
            await open_organizations(one, "acme")
            async with other.transaction():
                await audit.write_event(other, "acme", event(1), KEY)
                await audit.write_event(one, "acme", event(2), KEY)
                held = [await chain(pool, KEY, ignore) for _ in range(2)]
            return [*held, await chain(pool, KEY, ignore)]

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(work()) == [0, 0, 2]
    assert [line["event"] for line in logs] == ["audit.chain_waits"] * 2
    assert differences(database_url) == []


def test_later_writers_are_not_waited_for(database_url: str) -> None:
    """A transaction that begins after the pass has looked does not hold it up, though it never ends."""

    async def work() -> int:
        async with connected(database_url) as one, connected(database_url) as other, pooled(database_url) as pool:
            await open_organizations(one, "acme")
            async with connected(database_url) as third, third.transaction():
                await audit.write_event(third, "acme", event(1), KEY)
                await audit.write_event(one, "acme", event(2), KEY)
                chaining = asyncio.create_task(chain(pool, KEY, ignore))
                await _asks(one, "pg_locks")
                writing = other.transaction(force_rollback=True)
                await writing.__aenter__()
                await audit.write_event(other, "acme", event(3), KEY)
            links = await chaining
            await writing.__aexit__(None, None, None)
            return links

    assert asyncio.run(work()) == 2


def test_many_chainers_while_many_write(database_url: str) -> None:
    """With several processes chaining while others write, every row gets one link, and the chains hold."""
    names = ("acme", "busy", "")

    async def write(number: int, done: asyncio.Event) -> None:
        async with connected(database_url) as connection:
            for turn in range(12):
                name = names[(number + turn) % 3]
                async with connection.transaction(force_rollback=turn % 5 == 4):
                    await audit.write_event(connection, name, event(number), KEY)
                    if name:
                        await deny(connection, name, [denial(number)] * 3)
                    await asyncio.sleep(0.002 * (number % 4))
        done.set()

    async def chain_until(done: list[asyncio.Event], told: list[Unchained]) -> int:
        async def tell(chained: Sequence[Unchained]) -> None:
            told.extend(chained)

        links = 0
        async with pooled(database_url) as pool:
            while not all(event.is_set() for event in done):
                links += await chain(pool, KEY, tell)
            return links + await chain(pool, KEY, tell)

    async def work() -> tuple[int, int]:
        async with connected(database_url) as connection:
            await open_organizations(connection, "acme", "busy")
        done = [asyncio.Event() for _ in range(6)]
        told: list[Unchained] = []
        writers = [write(number, ended) for number, ended in enumerate(done)]
        chainers = [chain_until(done, told) for _ in range(3)]
        links = sum(count or 0 for count in await asyncio.gather(*chainers, *writers))
        return links + await chain_all(database_url), len(told)

    links, told = asyncio.run(work())
    (events,), (denials,) = select(
        database_url, "SELECT count(*) FROM audit_events UNION ALL SELECT count(*) FROM denials"
    )
    assert told == links == events + denials
    assert differences(database_url) == []
    assert verified(database_url).pending == 0


def test_others_do_not_wait_for_a_chain_in_work(database_url: str) -> None:
    """While one process has an organization's chain, another passes by and chains the next organization's."""

    async def work() -> list[int]:
        async with connected(database_url) as one, pooled(database_url) as pool:
            await open_organizations(one, "acme", "other")
            for name in ("acme", "other"):
                await audit.write_event(one, name, event(), KEY)
                await one.execute("INSERT INTO audit_heads VALUES (%s, 0, '')", (name,))
            async with one.transaction():
                await one.execute("SELECT FROM audit_heads WHERE organization = 'acme' FOR UPDATE")
                passed = await chain(pool, KEY, ignore)
            return [passed, await chain(pool, KEY, ignore)]

    assert asyncio.run(work()) == [1, 1]


def test_more_than_one_pass(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is more than a pass may do is left to the next one, which goes on behind it."""
    monkeypatch.setattr(audit_chain, "ROWS_MAX", 3)
    monkeypatch.setattr(audit_chain, "ROUNDS_MAX", 2)
    monkeypatch.setattr(audit_chain, "CHUNK", 2)

    async def work() -> list[int]:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme")
            await deny(connection, "acme", [denial(number) for number in range(10)])
            for number in range(4):
                await audit.write_event(connection, "acme", event(number), KEY)
            return [await chain(pool, KEY, ignore) for _ in range(4)]

    assert asyncio.run(work()) == [10, 4, 0, 0]
    assert differences(database_url) == []


def test_denials_from_before_the_trail(database_url: str) -> None:
    """Denials without a seal are passed by, whatever is chained, and are no difference."""

    async def work() -> list[int]:
        async with connected(database_url) as connection:
            await open_organizations(connection, "acme", "old")
            await deny(connection, "acme", [denial(number) for number in range(3)], None)
            await deny(connection, "old", [denial(number) for number in range(2)], None)
            nothing = await chain_all(database_url)
            await deny(connection, "acme", [denial(number) for number in range(3, 5)])
        return [nothing, await chain_all(database_url), await chain_all(database_url)]

    assert asyncio.run(work()) == [0, 2, 0]
    found = verified(database_url)
    assert found.differences == []
    assert (found.links, found.older, found.pending) == (2, 5, 0)


def test_wrong_seals_are_not_chained(database_url: str) -> None:
    """Rows whose seals do not fit are told once in the log, and those behind them are chained."""
    asyncio.run(make_trail(database_url, rows_each=1))

    async def work() -> list[int]:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            chains = AuditChain(pool, KEY, ignore)
            await deny(connection, "acme", [denial(number) for number in range(3)])
            as_superuser(database_url, "UPDATE denials SET requested = 7 WHERE reservation_id IN ('r-1', 'r-2')")
            await deny(connection, "acme", [denial(9)], None)
            first = [await chains.extend(), await chains.extend()]
            await deny(connection, "acme", [denial(10)])
            return [*first, await chains.extend(), await chains.extend()]

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(work()) == [1, 0, 1, 0]
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["organization"], line["source"], line["count"]) == (
        "audit.seal_wrong",
        "acme",
        "DENIAL",
        3,
    )


def test_other_keys_are_chained(database_url: str) -> None:
    """A server with another key, or none, does not leave rows behind that it cannot judge."""
    other = AuditKey(b"o" * 32)

    async def work() -> int:
        async with connected(database_url) as connection:
            await open_organizations(connection, "acme")
            await audit.write_event(connection, "acme", event(1), KEYLESS)
            await audit.write_event(connection, "acme", event(2), KEY)
        return await chain_all(database_url, other)

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(work()) == 2
    assert [line["event"] for line in logs] == ["audit.sealed_with_another_key", "audit.seal_keyless"]
    assert len(differences(database_url)) == 1
    assert len(differences(database_url, other)) == 2


def test_keyless_rows_are_chained(database_url: str) -> None:
    """With a key, rows that were sealed without one are chained, and told in the log."""
    with structlog.testing.capture_logs() as logs:
        asyncio.run(make_trail(database_url, key=KEYLESS, rows_each=1))
        assert logs == []

        async def work() -> int:
            async with connected(database_url) as connection:
                await audit.write_event(connection, "acme", event(1), KEYLESS)
                await audit.write_event(connection, "acme", event(2), KEY)
            return await chain_all(database_url)

        assert asyncio.run(work()) == 2
    (line,) = logs
    assert (line["event"], line["organization"], line["ids"]) == ("audit.seal_keyless", "acme", [2])


def test_numbers_that_come_again(database_url: str) -> None:
    """After a failover or restore gave numbers out again, rows below a refused one's number are chained."""

    async def work() -> list[int]:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            chains = AuditChain(pool, KEY, ignore)
            await audit.write_event(connection, "acme", event(1), KEY)
            await audit.write_event(connection, "acme", event(2), KEY)
            as_superuser(
                database_url,
                "ALTER TABLE audit_events ALTER event_id SET GENERATED BY DEFAULT",
                "UPDATE audit_events SET event_id = 100, reason = 'x' WHERE event_id = 2",
            )
            passes = [await chains.extend()]
            as_superuser(database_url, "DELETE FROM audit_events WHERE event_id = 100")
            await audit.write_event(connection, "acme", event(3), KEY)
            return [*passes, await chains.extend()]

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(work()) == [1, 1]
    assert [line["event"] for line in logs] == ["audit.seal_wrong"]
    assert differences(database_url) == []


@pytest.mark.parametrize("known", ["ours", "older", "other", "none"])
@pytest.mark.parametrize("source", ["event", "denial"])
def test_another_key_at_start(database_url: str, source: str, known: str) -> None:
    """It is told at start when none of our keys sealed the newest entry of all, and not otherwise."""
    other = AuditKey(b"o" * 32)
    ours = {"ours": KEY, "older": AuditKey(other.secret, (KEY,)), "other": other, "none": KEYLESS}[known]

    async def work() -> None:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await warn_of_other_key(pool, ours)
            await open_organizations(connection, "acme", "zeta")
            for name in ("acme", "zeta"):
                await audit.write_event(connection, name, event(1), other)
                await deny(connection, name, [denial(1)], other)
            if source == "event":
                await audit.write_event(connection, "mid", event(2), KEY)
            else:
                await deny(connection, "acme", [denial(2)])
            await warn_of_other_key(pool, ours)

    with structlog.testing.capture_logs() as logs:
        asyncio.run(work())
    told = [(line["event"], line["newest_sealed_with"]) for line in logs]
    assert told == ([("audit.key_differs", KEY.key_id.hex())] if known in {"other", "none"} else [])


def test_one_broken_chain_does_not_stop_others(database_url: str) -> None:
    """Where one organization's links cannot be written, the others' are."""

    async def work() -> int:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme", "other")
            for name in ("acme", "other"):
                await audit.write_event(connection, name, event(), KEY)
            as_superuser(database_url, "INSERT INTO audit_chain VALUES ('acme', 1, 'DENIAL', 99, sha256(''))")
            return await chain(pool, KEY, ignore)

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(work()) == 1
    assert [(line["event"], line["organization"]) for line in logs] == [("audit.chain_failed", "acme")]


def test_chains_for_ever(database_url: str) -> None:
    """It goes on after an outage, and what fails in the listener is no reason to stop."""
    calls: list[int] = []

    async def fail_once(chained: Sequence[Unchained]) -> None:
        calls.append(len(chained))
        if len(calls) == 1:
            message = "no"
            raise RuntimeError(message)

    async def work() -> None:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme")
            running = asyncio.create_task(chain_forever(pool, KEY, fail_once, 0.01))
            for number in range(3):
                await deny(connection, "acme", [denial(number)])
                while len(calls) == number:
                    await asyncio.sleep(0.01)
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gatekeeper-test'"
                )
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with structlog.testing.capture_logs():
        asyncio.run(work())
    assert calls == [1, 1, 1]
    assert differences(database_url) == []


async def _asks(connection: Connection, table: str) -> None:
    """Wait until a pool's connection has asked for something twice."""
    asked: set[datetime] = set()
    while len(asked) < 2:
        cursor = await connection.execute(
            "SELECT query_start FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'gatekeeper-test' AND query LIKE %s",
            (f"%{table}%",),
        )
        asked |= {row[0] for row in await cursor.fetchall()}
        await asyncio.sleep(0.005)
