"""How does an asyncio program settle what it holds? The hold, and the verdict that it waits for."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack

from gatekeeper_client.errors import BudgetDenied
from gatekeeper_client.money import from_money
from gatekeeper_client.verdicts import (
    GIVE_BACK_TIMEOUT_S,
    LEFT_OPEN,
    NOT_GIVEN_BACK,
    Denied,
    denied,
    log,
    override_of,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from gatekeeper_client import fields
    from gatekeeper_client.aio import AsyncClient
    from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate


class AsyncHold:
    """Money held for one call.

    As a block: an exception before a commit was tried releases the hold; leaving without a commit keeps it until
    `expires_at`, because its money may have been spent. `override` is what paid for a part beyond a cap, or None.
    """

    admitted: ClassVar[Literal[True]] = True

    def __init__(self, client: AsyncClient, response: gate.ReserveResponse) -> None:
        """Keep what an admitting response holds."""
        self._client = client
        self._settled = False
        self._keep(response)

    async def commit(self, **cost: Unpack[fields.Commit]) -> gate.CommitResponse:
        """Record the real cost, `amount` or `usage`, and end the hold."""
        self._settled = True  # before it is sent: a failure may hide a success
        return await self._client.commit(self.reservation.organization, self.reservation_id, **cost)

    async def release(self, **call: Unpack[fields.Call]) -> gate.ReleaseResponse:
        """Give the whole hold back: the call was not made."""
        self._settled = True
        return await self._client.release(self.reservation.organization, self.reservation_id, **call)

    async def extend(self, **more: Unpack[fields.Extend]) -> AsyncHold | Denied:
        """Prolong this hold by `ttl` from now, or raise it to `amount`; a denial leaves it as it is."""
        response = await self._client.extend(self.reservation.organization, self.reservation_id, **more)
        return denied(response) or self._keep(response)

    async def __aenter__(self) -> Self:
        """Return the hold."""
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Release the hold if the block failed before a commit was tried."""
        if error is not None and not self._settled:
            # Shielded, and kept from the garbage collector: another cancellation ends the wait, not the release.
            self._giving_back = asyncio.ensure_future(self._give_back())
            await asyncio.shield(self._giving_back)
        elif not self._settled:
            log.warning(LEFT_OPEN, self.reservation_id, self.expires_at)

    async def _give_back(self) -> None:
        try:
            await self.release(timeout_s=GIVE_BACK_TIMEOUT_S)
        except Exception:  # noqa: BLE001 - the block's own exception must come through, whatever this one is
            log.warning(NOT_GIVEN_BACK, self.reservation_id, self.expires_at, exc_info=True)

    def _keep(self, response: gate.ReserveResponse | gate.ExtendResponse) -> Self:
        self.reservation = response.reservation
        self.reservation_id = self.reservation.reservation_id
        self.amount = from_money(self.reservation.amount)
        self.expires_at = self.reservation.expire_time.ToDatetime(UTC)
        self.budgets = tuple(response.budgets)
        self.override = override_of(self.reservation)
        return self


class Reserving:
    """A Reserve to send: await it for the verdict, or enter it as a block, which raises BudgetDenied on a no."""

    def __init__(self, verdict: Coroutine[Any, Any, AsyncHold | Denied]) -> None:
        """Keep what will ask."""
        self._verdict = verdict

    def __await__(self) -> Generator[Any, None, AsyncHold | Denied]:
        """Return the verdict."""
        return self._verdict.__await__()

    async def __aenter__(self) -> AsyncHold:
        """Return the hold."""
        verdict = await self._verdict
        if isinstance(verdict, Denied):
            raise BudgetDenied(verdict.denial)
        self._hold = verdict
        return verdict

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Leave the block of the hold."""
        await self._hold.__aexit__(kind, error, traceback)
