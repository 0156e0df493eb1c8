"""How does an asyncio program hold money before a call and settle it afterwards? The asyncio client."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, Unpack

import grpc
import grpc.aio

from gatekeeper_client.channel import TIMEOUT_S_DEFAULT, route_to
from gatekeeper_client.credentials import bearer, token_of
from gatekeeper_client.errors import BudgetDenied, from_rpc_error
from gatekeeper_client.fields import commit_request, reserve_request, turn, wire
from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate
from gatekeeper_client.v1 import report_service_pb2 as report
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
from gatekeeper_client.verdicts import GIVE_BACK_TIMEOUT_S, LEFT_OPEN, NOT_GIVEN_BACK, Denied, denied, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable

    from gatekeeper_client import fields
    from gatekeeper_client.channel import Route
    from gatekeeper_client.v1.audit_pb2 import AuditEvent
    from gatekeeper_client.v1.budget_pb2 import Budget
    from gatekeeper_client.v1.reservation_pb2 import Execution, Reservation

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class AsyncHold:
    """Money held for one call.

    As a block: an exception before a commit was tried releases the hold; leaving without a commit keeps it until
    `expires_at`, because its money may have been spent.
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


class AsyncClient:
    """Asks a gatekeeper over one channel; opened and closed inside the event loop that uses it.

    `target` is `host:port`, `http(s)://host:port` or `unix:PATH`; else BILLING_API_URL, else 127.0.0.1:50051.
    `timeout_s` is the deadline of a call with its retries. `token` goes with every call; else GATEKEEPER_TOKEN, else
    what is in GATEKEEPER_TOKEN_FILE. It leaves this machine in the clear only if `allow_plaintext`. `credentials` make
    the channel a TLS one, as do https and GATEKEEPER_CA_FILE. `channel` serves instead, with the given token only.
    Every method raises GatekeeperError where there is no verdict, TypeError or ValueError for bad arguments.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        allow_plaintext: bool = False,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Open the channel; nothing is sent yet. Raises RuntimeError outside an event loop."""
        asyncio.get_running_loop()
        if channel is None:
            route = route_to(target, credentials=credentials, token=token, allow_plaintext=allow_plaintext)
            self._channel, self._metadata = _open(route), route.metadata
        else:
            self._channel, self._metadata = channel, bearer(token_of(token or ""))
        self._gate = GatekeeperServiceStub(self._channel)
        self._report = ReportServiceStub(self._channel)
        self._timeout_s = timeout_s

    def reserve(self, organization: str, **hold: Unpack[fields.Reserve]) -> Reserving:
        """Hold `amount`, or what `tokens` cost at most, in every budget that the call falls under, or in none.

        Retries repeat the reservation id. To go on after Unavailable, give a `reservation_id` and give it again.
        """
        return Reserving(self._reserve(reserve_request(organization, hold), hold))

    async def commit(
        self, organization: str, reservation_id: str, **cost: Unpack[fields.Commit]
    ) -> gate.CommitResponse:
        """Record the real cost of a call, `amount` or `usage`, and end its hold."""
        return await self._call(self._gate.Commit, commit_request(organization, reservation_id, cost), cost)

    async def release(
        self, organization: str, reservation_id: str, **call: Unpack[fields.Call]
    ) -> gate.ReleaseResponse:
        """Give a whole hold back."""
        request = gate.ReleaseRequest(organization=organization, reservation_id=reservation_id)
        return await self._call(self._gate.Release, request, call)

    async def extend(
        self, organization: str, reservation_id: str, **more: Unpack[fields.Extend]
    ) -> gate.ExtendResponse:
        """Prolong a hold, or raise its amount; a denial comes in the response."""
        request = gate.ExtendRequest(organization=organization, reservation_id=reservation_id, **wire(more))
        return await self._call(self._gate.Extend, request, more)

    async def get_status(self, organization: str, **which: Unpack[fields.Status]) -> gate.GetStatusResponse:
        """Tell how an organization's budgets stand."""
        request = gate.GetStatusRequest(organization=organization, **wire(which))
        return await self._call(self._gate.GetStatus, request, which)

    async def set_cap(self, organization: str, **budget: Unpack[fields.Cap]) -> gate.SetCapResponse:
        """Set what is capped, how hard, and whether it is frozen."""
        request = gate.SetCapRequest(organization=organization, **wire(budget))
        return await self._call(self._gate.SetCap, request, budget)

    def list_budgets(self, organization: str, **which: Unpack[fields.Budgets]) -> AsyncIterator[Budget]:
        """Iterate over budgets, by scope and window, asking for each page when it is reached."""
        request = report.ListBudgetsRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListBudgets, request, which, lambda page: page.budgets)

    def list_reservations(self, organization: str, **which: Unpack[fields.Reservations]) -> AsyncIterator[Reservation]:
        """Iterate over reservations, newest first."""
        request = report.ListReservationsRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListReservations, request, which, lambda page: page.reservations)

    def list_executions(self, organization: str, **which: Unpack[fields.Executions]) -> AsyncIterator[Execution]:
        """Iterate over the billing log, newest first."""
        request = report.ListExecutionsRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListExecutions, request, which, lambda page: page.executions)

    def list_audit_events(self, organization: str, **which: Unpack[fields.AuditEvents]) -> AsyncIterator[AuditEvent]:
        """Iterate over the audit trail, newest first; over the installation's own for an empty organization."""
        request = report.ListAuditEventsRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListAuditEvents, request, which, lambda page: page.audit_events)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self.close()

    async def _reserve(self, request: gate.ReserveRequest, asked: fields.Call) -> AsyncHold | Denied:
        response = await self._call(self._gate.Reserve, request, asked)
        return denied(response) or AsyncHold(self, response)

    async def _pages(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[Q, R],
        request: Q,
        asked: fields.Call,
        entries: Callable[[R], Iterable[T]],
    ) -> AsyncIterator[T]:
        more = True
        while more:
            page = await self._call(rpc, request, asked)
            for entry in entries(page):
                yield entry
            more = turn(request, page)

    async def _call(self, rpc: grpc.aio.UnaryUnaryMultiCallable[Q, R], request: Q, asked: fields.Call) -> R:
        timeout_s = asked.get("timeout_s", self._timeout_s)
        try:
            return await rpc(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def _open(route: Route) -> grpc.aio.Channel:
    if route.credentials is None:
        return grpc.aio.insecure_channel(route.address, options=route.options)
    return grpc.aio.secure_channel(route.address, route.credentials, options=route.options)
