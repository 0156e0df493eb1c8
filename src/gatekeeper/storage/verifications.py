"""When did the servers last verify by themselves, and what did they find?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .connections import Connection, first

# Whose verification it is: the whole installation's.
INSTALLATION = ""

# What is enough to know where to look.
EXAMPLE_LENGTH_MAX = 500

# The newest verification, by primary key; before the first one, when the oldest organization was opened.
LAST = """
SELECT coalesce(
    (SELECT started_at FROM verifications WHERE organization = %s ORDER BY verification_id DESC LIMIT 1),
    (SELECT min(created_at) FROM organizations))
"""

ADD = """
INSERT INTO verifications (organization, started_at, finished_at, differences, audit_differences, example)
VALUES (%s, %s, clock_timestamp(), %s, %s, %s) RETURNING verification_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How many differences there are in the books and in the audit trail, and one of them."""

    started_at: datetime
    differences: int
    audit_differences: int
    example: str


async def last_started(connection: Connection) -> datetime | None:
    """Return since when the books are not verified; None: there are none."""
    found: datetime | None = first(await (await connection.execute(LAST, (INSTALLATION,))).fetchone())
    return found


async def add(connection: Connection, finding: Finding) -> int:
    """Write down what was found; return its number."""
    cursor = await connection.execute(
        ADD,
        (
            INSTALLATION,
            finding.started_at,
            finding.differences,
            finding.audit_differences,
            finding.example[:EXAMPLE_LENGTH_MAX],
        ),
    )
    verification_id: int = first(await cursor.fetchone())
    return verification_id
