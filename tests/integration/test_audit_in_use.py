"""Does the audit trail keep up with servers that deny, and is it sound at every instant?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from gatekeeper.domain.verification import Difference
from gatekeeper.services import audit_keys
from gatekeeper.services.audit_verification import ChainHead, verify_trail
from gatekeeper_client import AsyncClient, Denied
from tests.conftest import ServerFactory
from tests.contract.wire import until

ORGANIZATIONS = ("acme", "busy")
CALLS = 600


async def deny(address: str, organization: str) -> None:
    """Ask for more than there is, again and again, and move the cap meanwhile."""
    async with AsyncClient(address) as client:
        await client.set_cap(organization, cap="1", reason="little")
        calls = [client.reserve(organization, amount="5", campaign=f"c{number % 7}") for number in range(CALLS)]
        results = await asyncio.gather(*(_ask(call) for call in calls))
        await client.set_cap(organization, cap="2", reason="more")
    assert all(results)


async def _ask(call: object) -> bool:
    return isinstance(await call, Denied)  # type: ignore[misc]


def test_two_servers(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """While two servers deny and chain, each snapshot of the trail is sound, and in the end all has its link."""
    path = tmp_path / "audit.key"
    key = audit_keys.load(path, create=True)
    settings = {"GATEKEEPER_AUDIT_KEY_FILE": str(path), "GATEKEEPER_AUDIT_INTERVAL_S": "0.05"}
    servers = [start_server(database_url=database_url, **settings) for _ in range(2)]

    async def work() -> tuple[list[Difference], int]:
        asking = asyncio.gather(
            *(deny(server.address, organization) for server in servers for organization in ORGANIZATIONS)
        )
        kept: list[ChainHead] = []
        found: list[Difference] = []
        pending = 1
        while pending or not asking.done():
            verification = await verify_trail(database_url, key, kept=kept)
            found += verification.differences
            kept = [*verification.heads]
            pending = verification.pending
        await asking
        return found, verification.links

    found, links = asyncio.run(work())
    assert found == []
    assert links >= 2 * len(ORGANIZATIONS) * (CALLS + 1)
    denials = 2 * len(ORGANIZATIONS) * CALLS
    until(lambda: rows_of(tmp_path.glob("logs-*/budget/blocked-executions.md*")) == denials)


def rows_of(logs: Iterable[Path]) -> int:
    return sum(log.read_text().count("| OUT_OF_BUDGET |") for log in logs)
