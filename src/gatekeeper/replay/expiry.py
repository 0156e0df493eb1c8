"""What became of the holds that were left open? The server is asked until all of them have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from decimal import Decimal
from time import monotonic
from typing import Final, Literal

from gatekeeper_client import AsyncClient, from_money

from .tally import Tally

# Servers look for overdue holds every second, unless told otherwise, and end a thousand at a time.
GRACE_S: Final = 30.0
PAUSE_S: Final = 0.5
PAGE_SIZE: Final = 1000
# A hold may be older than the first one that was heard of, by no more than a call's deadline.
MARGIN: Final = timedelta(minutes=1)


async def await_expiry(
    client: AsyncClient, organization: str, tally: Tally, pause: Callable[[float], Awaitable[None]]
) -> None:
    """Wait until no hold that `tally` has as open is held any more, and count the expired; give up after a grace.

    Raises GatekeeperError where the server does not answer.
    """
    await pause(max(0.0, tally.expired_by - monotonic()))
    deadline = monotonic() + GRACE_S
    held = tally.open
    while held and not tally.interrupted:
        held = await _ours(client, organization, tally, "HELD")
        if not held or monotonic() > deadline:
            break
        await pause(PAUSE_S)
    if not tally.interrupted:
        tally.expired = len(await _ours(client, organization, tally, "EXPIRED"))
        tally.open = held


async def _ours(
    client: AsyncClient, organization: str, tally: Tally, state: Literal["HELD", "EXPIRED"]
) -> dict[str, Decimal | None]:
    """Return which of the open holds are in a state; the list is read from its newest to our oldest."""
    ours: dict[str, Decimal | None] = {}
    if tally.since is None or not tally.open:
        return ours
    async for reservation in client.list_reservations(organization, state=state, page_size=PAGE_SIZE):
        if reservation.create_time.ToDatetime(UTC) < tally.since - MARGIN:
            break
        if reservation.reservation_id in tally.open:
            ours[reservation.reservation_id] = from_money(reservation.amount)
    return ours
