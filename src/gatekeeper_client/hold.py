"""How does a blocking program settle what it holds? The same as `aio_hold`, without asyncio."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, ClassVar, Literal, Self, Unpack

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
    from gatekeeper_client import fields
    from gatekeeper_client.sync import Client
    from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate


class Hold:
    """Money held for one call.

    As a block: an exception before a commit was tried releases the hold; leaving without a commit keeps it until
    `expires_at`, because its money may have been spent. `override` is what paid for a part beyond a cap, or None.
    """

    admitted: ClassVar[Literal[True]] = True

    def __init__(self, client: Client, response: gate.ReserveResponse) -> None:
        """Keep what an admitting response holds."""
        self._client = client
        self._settled = False
        self._keep(response)

    def commit(self, **cost: Unpack[fields.Commit]) -> gate.CommitResponse:
        """Record the real cost, `amount` or `usage`, and end the hold."""
        self._settled = True  # before it is sent: a failure may hide a success
        return self._client.commit(self.reservation.organization, self.reservation_id, **cost)

    def release(self, **call: Unpack[fields.Call]) -> gate.ReleaseResponse:
        """Give the whole hold back: the call was not made."""
        self._settled = True
        return self._client.release(self.reservation.organization, self.reservation_id, **call)

    def extend(self, **more: Unpack[fields.Extend]) -> Hold | Denied:
        """Prolong this hold by `ttl` from now, or raise it to `amount`; a denial leaves it as it is."""
        response = self._client.extend(self.reservation.organization, self.reservation_id, **more)
        return denied(response) or self._keep(response)

    def __enter__(self) -> Self:
        """Return the hold."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Release the hold if the block failed before a commit was tried."""
        if error is not None and not self._settled:
            self._give_back()
        elif not self._settled:
            log.warning(LEFT_OPEN, self.reservation_id, self.expires_at)

    def _give_back(self) -> None:
        try:
            self.release(timeout_s=GIVE_BACK_TIMEOUT_S)
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
