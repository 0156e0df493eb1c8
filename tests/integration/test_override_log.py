"""Does the log of override executions say what an override let through, and nothing else that was done to it?"""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest

from gatekeeper.domain.audit import AuditAction, Content
from gatekeeper.services.audit_chain import chain
from gatekeeper.services.execution_logs import OVERRIDES, ExecutionLogs
from gatekeeper.services.markdown_log import MarkdownLog
from gatekeeper.storage import audit
from tests.conftest import ServerFactory
from tests.contract.overriding import opened
from tests.contract.wire import Wire, until
from tests.integration.test_blocked_log import HOSTILE, cells_of
from tests.integration.trails import KEY, connected, denial, deny, event, open_organizations, pooled

USE = {
    "override_id": "o-1",
    "reservation_id": "r-1",
    "department": "",
    "campaign": "spring",
    "agent": "writer",
    "run": "run 1",
    "model": "opus",
    "amount": "1.50",
    "beyond": "0.25",
}
USED: Content = {
    "organization": "acme",
    "action": "OVERRIDE_USED",
    "occurred_at": "2026-11-20T12:00:00.500000+00:00",
    "caller": "7",
    "actor": "ada",
    "actor_role": "AGENT",
    "peer": "ipv4:127.0.0.1:9",
    "subject": "override 'o-1'",
    "before": None,
    "after": json.dumps(USE),
    "reason": "the launch is today",
}


def path_of(logs_dir: Path) -> Path:
    return logs_dir / "budget" / "override-executions.md"


def write(logs_dir: Path, *uses: Content) -> None:
    asyncio.run(MarkdownLog(logs_dir, OVERRIDES).write(uses))


def test_row(tmp_path: Path) -> None:
    """A use is a row: when, whose, for what, how much was held and how much beyond the caps, why, and who called."""
    write(tmp_path, USED)
    assert cells_of(path_of(tmp_path)) == [
        [
            "2026-11-20 12:00:00.500000",
            "acme",
            "spring",
            "writer",
            "run 1",
            "opus",
            "1.50",
            "0.25",
            "o-1",
            "the launch is today",
            "ada",
            "r-1",
        ]
    ]
    assert path_of(tmp_path).read_text().startswith("# Override executions\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_stay_texts(tmp_path: Path, text: str) -> None:
    """Whatever is in a name, a reason or an amount, the row stays one row of as many cells."""
    use = {**USED, "after": json.dumps(dict.fromkeys(USE, text)), "reason": text, "actor": text}
    write(tmp_path, use, USED)
    assert [len(row) for row in cells_of(path_of(tmp_path))] == [len(OVERRIDES.columns)] * 2
    assert all(line.isprintable() for line in path_of(tmp_path).read_text().split("\n"))


def test_only_uses_are_logged(database_url: str, tmp_path: Path) -> None:
    """Of what is chained, uses go into this log and denials into the other, each once; other changes into none."""

    async def work() -> None:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme")
            for action in AuditAction:
                if action is not AuditAction.CALL_DENIED:
                    await audit.write_event(connection, "acme", event(action=action, after=USE), KEY)
            await deny(connection, "acme", [denial()])
            logs = ExecutionLogs(tmp_path)
            await asyncio.gather(*(chain(pool, KEY, logs.write) for _ in range(2)))

    asyncio.run(work())
    assert [row[-1] for row in cells_of(path_of(tmp_path))] == ["r-1"]
    assert [row[-1] for row in cells_of(tmp_path / "budget" / "blocked-executions.md")] == ["r-0"]


def test_a_server_logs_what_an_override_let_through(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """The row of a call that an override paid for names both, and what of the call was beyond the cap."""
    with closing(Wire(start_server(database_url=database_url).address, database_url)) as wire:
        override = opened(wire, "acme").on("5", reason="the launch is today")
        held = wire.hold("acme", "3", campaign="spring")
    path = path_of(tmp_path / "logs-0")
    until(lambda: path.exists() and cells_of(path))
    (row,) = cells_of(path)
    assert row[1:3] == ["acme", "spring"]
    assert row[6:] == ["3.00", "2.00", override.override_id, "the launch is today", "anyone", held.reservation_id]
