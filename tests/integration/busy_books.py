"""What do tests of verification start from? Books that a server wrote, with something of everything in them."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from gatekeeper import app
from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.reservation import ExpiryPolicy
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.organizations import Terms, open_or_change
from gatekeeper.settings import Settings, load_settings
from gatekeeper.storage.connections import open_pool
from gatekeeper_client import AsyncClient, AsyncHold, Denied
from tests.conftest import served_url, url_of

MOMENT = timedelta(milliseconds=20)
CALLS = 40


async def make_calls(settings: Settings) -> None:
    """Serve as long as it takes to make books that have something of everything."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(app.serve(settings, stop, lambda running: started.set_result(running.addresses[0])))
    first: tuple[asyncio.Future[Any], ...] = (started, serving)
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    try:
        async with AsyncClient(started.result()) as client:
            await make_busy(client)
    finally:
        stop.set()
        await serving


async def make_busy(client: AsyncClient) -> None:
    """Use every kind of budget and every way in which a hold can end, in two organizations."""
    for organization in ("acme", "charging"):
        await client.set_cap(organization, cap="5", window="TOTAL")
        await client.set_cap(organization, scope=("CAMPAIGN", "spring"), cap="0.30", window="DAY")
        await client.set_cap(organization, scope=("AGENT", "writer"), cap="0.10", enforcement="WARN")
        await client.set_cap(organization, scope=("RUN", "run 1"), cap="1", window="TOTAL", enforcement="SHADOW")
        results = await asyncio.gather(*(call(client, organization, number) for number in range(CALLS)))
        assert any(isinstance(result, Denied) for result in results)
        await client.set_cap(organization, scope=("DEPARTMENT", "marketing"), cap="0.000000001")
        await client.set_cap(organization, scope=("CAMPAIGN", "spring"), cap="0.01", window="DAY")
    await until_swept(client)
    vanished = [await client.reserve("charging", amount="0.5", ttl=MOMENT) for _ in range(3)]
    await until_swept(client)
    assert isinstance(vanished[0], AsyncHold)
    await vanished[0].commit(amount="0.123456789")
    for organization in ("acme", "charging"):
        await spend_beyond(client, organization)


async def spend_beyond(client: AsyncClient, organization: str) -> None:
    """Spend past caps by an override, in every way in which its use can end."""
    terms: Any = {"scope": ("DEPARTMENT", "marketing"), "max_amount": "2", "ttl": timedelta(hours=1)}
    await client.set_override(organization, **terms, enabled=True, reason="the launch cannot wait")
    kept, raised, less, more, released = [await reserve_beyond(client, organization) for _ in range(5)]
    brief = await reserve_beyond(client, organization, ttl=MOMENT)
    late = await reserve_beyond(client, organization, ttl=MOMENT)
    assert kept.reservation.override.override_id
    assert isinstance(await raised.extend(amount="0.06"), AsyncHold)
    await raised.commit(amount="0.05")
    await less.commit(amount="0.000000001")
    await more.commit(amount="0.07")
    await released.release()
    await until_swept(client)
    await late.commit(amount="0.03")
    assert brief.reservation.override.override_id


async def reserve_beyond(client: AsyncClient, organization: str, ttl: timedelta = timedelta(hours=1)) -> AsyncHold:
    """Reserve what only an override lets through."""
    hold = await client.reserve(organization, amount="0.04", campaign="spring", department="marketing", ttl=ttl)
    assert isinstance(hold, AsyncHold), hold
    return hold


async def call(client: AsyncClient, organization: str, number: int) -> AsyncHold | Denied:
    """Reserve, and end it one way or another."""
    hold = await client.reserve(
        organization,
        amount="0.04",
        campaign="spring" if number % 2 else "autumn",
        department="marketing",
        agent="writer",
        run=f"run {number % 3}",
        ttl=MOMENT if number % 8 == 0 else timedelta(hours=1),
    )
    if isinstance(hold, AsyncHold):
        match number % 4:
            case 1:
                await hold.commit(amount="0.07", outcome="FAILED")
            case 2:
                await hold.commit(amount="0.012345678")
            case 3 if number % 8 == 3:
                await hold.release()
    return hold


async def until_swept(client: AsyncClient) -> None:
    """Wait until no hold of the shortest kind is open."""
    while await count_short(client, "acme") + await count_short(client, "charging"):
        await asyncio.sleep(0.02)


async def count_short(client: AsyncClient, organization: str) -> int:
    """Return how many open holds of the shortest kind an organization has."""
    spans = [
        reservation.expire_time.ToMilliseconds() - reservation.create_time.ToMilliseconds()
        async for reservation in client.list_reservations(organization, state="HELD")
    ]
    return sum(span < 1000 for span in spans)


async def make_books(url: str) -> None:
    """Fill a database by way of a server."""
    async with open_pool(url, name="test", size_max=1, hot=False) as pool:
        terms = Terms(expiry_policy=ExpiryPolicy.CHARGE, time_zone="Pacific/Kiritimati")
        await open_or_change(pool, "charging", terms, default_budget=Decimal(1000), actor=SYSTEM, key=AuditKey())
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            database_url=served_url(url),
            listen=("127.0.0.1:0",),
            sweep_interval_s=0.05,
            rollup_interval_s=0.05,
            insecure=True,
            logs_dir=Path(folder),
        )
        await make_calls(settings)


@dataclass(frozen=True, kw_only=True)
class Books:
    """A database to copy from."""

    server: EmbeddedPostgres
    name: str

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Yield the URL of a copy."""
        with copied(self.server, self.name) as name:
            yield url_of(self.server, name)


@contextmanager
def copied(server: EmbeddedPostgres, source: str) -> Iterator[str]:
    """Yield the name of a copy of a database."""
    name = f"v_{uuid.uuid4().hex}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        try:
            yield name
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
