"""Who verifies the books and the audit trail when nobody asks? One of the servers, every so often.

Every process looks whether it is due. The first one that sees it keeps the turn, as a lock of its own connection, until
it has written down what it found. If it dies, so does the lock, and another process begins anew.
"""

from __future__ import annotations

import time
from datetime import datetime

import psycopg
import structlog

from gatekeeper.domain.alerts import Alert, AlertKind
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.schedule import Schedule
from gatekeeper.storage import turns
from gatekeeper.storage import verifications as storage
from gatekeeper.storage.alerts import write_alerts
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection, Pool, wrap_errors
from gatekeeper.storage.turns import Turn
from gatekeeper.storage.verifications import INSTALLATION, Finding

from .audit_verification import verify_trail
from .repetition import repeat
from .verification import verify_books

log = structlog.get_logger(__name__)

# How often it is looked whether a verification is due.
LOOK_INTERVAL_MAX_S = 60
# How long after a start or an outage nothing is verified: holds that are overdue are swept meanwhile, and what was left
# of the trail is chained.
SETTLE_MAX_S = 120
# How long a process whose verification failed leaves it to others.
RETRY_S = 900
# The part of the time in which the audit trail may keep the event loop busy.
TRAIL_SHARE = 0.2


class SelfAudit:
    """Verifies when it is due."""

    def __init__(self, pool: Pool, database_url: str, key: AuditKey, schedule: Schedule) -> None:
        """Look by `pool`, and verify by connections of its own, for as long as that takes."""
        self._pool = pool
        self._database_url = database_url
        self._key = key
        self._schedule = schedule
        self._settle_s = min(SETTLE_MAX_S, schedule.interval.total_seconds())
        self._not_before = time.monotonic() + self._settle_s

    async def look(self) -> int:
        """Verify if it is due and no other process is at it; return how many differences there are.

        Raises `DatabaseUnavailable` or `SchemaError`.
        """
        if time.monotonic() < self._not_before:
            return 0
        pause_s = self._settle_s
        try:
            with wrap_errors():
                async with self._pool.connection() as connection:
                    is_due = await self._is_due(connection)
                pause_s = RETRY_S
                return await self._verify() if is_due else 0
        except Exception:
            self._not_before = time.monotonic() + pause_s
            raise

    async def watch_forever(self) -> None:
        """Look often enough, for ever."""
        interval_s = min(LOOK_INTERVAL_MAX_S, self._schedule.interval.total_seconds())
        await repeat("self_audit.failed", self.look, lambda _: interval_s)

    async def _is_due(self, connection: Connection) -> bool:
        last = await storage.last_started(connection)
        return last is not None and self._schedule.due_at(last) <= await database_now(connection)

    async def _verify(self) -> int:
        async with await psycopg.AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="gatekeeper-self-audit",
        ) as connection:
            # Another process may have done it between our look and our turn.
            if not (await turns.keep(connection, Turn.VERIFICATION) and await self._is_due(connection)):
                return 0
            started_at = await database_now(connection)
            books = await verify_books(self._database_url, gently=True)
            trail = await verify_trail(self._database_url, self._key, share=TRAIL_SHARE)
            found = [*books.differences, *trail.differences]
            finding = Finding(
                started_at=started_at,
                differences=len(books.differences),
                audit_differences=len(trail.differences),
                example=str(found[0]) if found else "",
            )
            await _write(connection, finding)
        return len(found)


async def _write(connection: Connection, finding: Finding) -> None:
    """Write down what was found, and tell where the books or the trail are wrong."""
    async with connection.transaction():
        verification_id = await storage.add(connection, finding)
        if finding.example:
            alert = _alert(verification_id, finding, await database_now(connection))
            await write_alerts(connection, INSTALLATION, [alert])
    counts = {"differences": finding.differences, "audit_differences": finding.audit_differences}
    if finding.example:
        log.error("self_audit.differences", verification_id=verification_id, **counts, example=finding.example)
    else:
        log.info("self_audit.passed", verification_id=verification_id, **counts)


def _alert(verification_id: int, finding: Finding, now: datetime) -> Alert:
    message = (
        f"Verification has found {finding.differences} differences in the books and {finding.audit_differences} in the"
        f" audit trail, such as: {finding.example[: storage.EXAMPLE_LENGTH_MAX]}."
        " To see all of them: gatekeeper verify, gatekeeper verify --audit"
    )
    return Alert(kind=AlertKind.VERIFICATION_FAILED, message=message, occurred_at=now, subject=f"{verification_id}")
