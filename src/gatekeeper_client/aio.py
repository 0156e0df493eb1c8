"""How does an asyncio program ask a gatekeeper? The asyncio client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar, Unpack, cast

import grpc
import grpc.aio

from gatekeeper_client.aio_hold import AsyncHold, Reserving
from gatekeeper_client.channel import TIMEOUT_S_DEFAULT, route_to
from gatekeeper_client.credentials import bearer, token_of
from gatekeeper_client.errors import from_rpc_error
from gatekeeper_client.requests import (
    commit_request,
    export_invoice_request,
    list_alerts_request,
    list_invoices_request,
    list_overrides_request,
    request_override_request,
    reserve_request,
    set_override_request,
    turn,
    wire,
)
from gatekeeper_client.tracing import trace_id_of, traced
from gatekeeper_client.v1 import admin_service_pb2 as admin
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate
from gatekeeper_client.v1 import report_service_pb2 as report
from gatekeeper_client.v1.admin_service_pb2_grpc import AdminServiceStub
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
from gatekeeper_client.verdicts import Denied, denied
from gatekeeper_client.watching import Comeback, ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from gatekeeper_client import fields
    from gatekeeper_client.channel import Route
    from gatekeeper_client.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from gatekeeper_client.v1.alert_pb2 import Alert
    from gatekeeper_client.v1.audit_pb2 import AuditEvent
    from gatekeeper_client.v1.budget_pb2 import Budget
    from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceAsyncStub
    from gatekeeper_client.v1.invoice_pb2 import BillingProfile, Invoice
    from gatekeeper_client.v1.override_pb2 import Override
    from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceAsyncStub
    from gatekeeper_client.v1.reservation_pb2 import Execution, Reservation
    from gatekeeper_client.v1.spend_pb2 import AgentSpend, CampaignSpend, DepartmentSpend, ModelSpend

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


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
        # The stubs know a second class for asyncio's channels, but only as a type.
        self._gate = cast("GatekeeperServiceAsyncStub", GatekeeperServiceStub(self._channel))
        self._report = cast("ReportServiceAsyncStub", ReportServiceStub(self._channel))
        self._admin = cast("AdminServiceAsyncStub", AdminServiceStub(self._channel))
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

    async def set_override(self, organization: str, **override: Unpack[fields.SetOverride]) -> gate.SetOverrideResponse:
        """Let calls past their caps for so much money and time; or approve, decline or end such an override."""
        return await self._call(self._gate.SetOverride, set_override_request(organization, override), override)

    async def request_override(
        self, organization: str, **override: Unpack[fields.RequestOverride]
    ) -> gate.RequestOverrideResponse:
        """Ask the admins for an override."""
        request = request_override_request(organization, override)
        return await self._call(self._gate.RequestOverride, request, override)

    async def test_alerts(self, organization: str, **call: Unpack[fields.Call]) -> admin.TestAlertsResponse:
        """Send an alert that says nothing on every channel; `list_alerts` tells how far it has come."""
        return await self._call(self._admin.TestAlerts, admin.TestAlertsRequest(organization=organization), call)

    async def retry_alerts(self, organization: str, **call: Unpack[fields.Call]) -> admin.RetryAlertsResponse:
        """Try anew what was given up of the alerts of the last 31 days."""
        return await self._call(self._admin.RetryAlerts, admin.RetryAlertsRequest(organization=organization), call)

    async def get_statement(
        self, organization: str, **which: Unpack[fields.StatementOf]
    ) -> report.GetStatementResponse:
        """Tell what has happened to a monthly budget, from what was available before to what is left."""
        request = report.GetStatementRequest(organization=organization, **wire(which))
        return await self._call(self._report.GetStatement, request, which)

    async def get_attributed_spend(
        self, organization: str, **which: Unpack[fields.AttributedSpend]
    ) -> report.GetAttributedSpendResponse:
        """Tell what a month cost by campaign or department, with what is shared split by `rules`."""
        request = report.GetAttributedSpendRequest(organization=organization, **wire(which))
        return await self._call(self._report.GetAttributedSpend, request, which)

    async def get_monthly_report(
        self, organization: str, **which: Unpack[fields.MonthlyReport]
    ) -> report.GetMonthlyReportResponse:
        """Tell a month in Markdown, with what would save money."""
        request = report.GetMonthlyReportRequest(organization=organization, **wire(which))
        return await self._call(self._report.GetMonthlyReport, request, which)

    async def get_billing_profile(
        self, organization: str, **call: Unpack[fields.Call]
    ) -> admin.GetBillingProfileResponse:
        """Return what an organization's invoices say of the buyer, of tax and of payment."""
        request = admin.GetBillingProfileRequest(organization=organization)
        return await self._call(self._admin.GetBillingProfile, request, call)

    async def set_billing_profile(
        self, organization: str, profile: BillingProfile, **change: Unpack[fields.Change]
    ) -> admin.SetBillingProfileResponse:
        """Change all of that, for invoices to come."""
        request = admin.SetBillingProfileRequest(organization=organization, profile=profile, **wire(change))
        return await self._call(self._admin.SetBillingProfile, request, change)

    async def credit_invoice(
        self, organization: str, number: str, **change: Unpack[fields.Change]
    ) -> admin.CreditInvoiceResponse:
        """Take an issued invoice back, whole, for a `reason`. The same again gives the same credit note."""
        request = admin.CreditInvoiceRequest(organization=organization, number=number, **wire(change))
        return await self._call(self._admin.CreditInvoice, request, change)

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

    def list_overrides(self, organization: str, **which: Unpack[fields.Overrides]) -> AsyncIterator[Override]:
        """Iterate over overrides with what each has cost and who used it, newest first."""
        request = list_overrides_request(organization, which)
        return self._pages(self._report.ListOverrides, request, which, lambda page: page.overrides)

    def list_alerts(self, organization: str, **which: Unpack[fields.Alerts]) -> AsyncIterator[Alert]:
        """Iterate over alerts and how far each has come, newest first; the installation's for an empty organization."""
        request = list_alerts_request(organization, which)
        return self._pages(self._report.ListAlerts, request, which, lambda page: page.alerts)

    async def get_spend_summary(
        self, organization: str, **month: Unpack[fields.Month]
    ) -> report.GetSpendSummaryResponse:
        """Tell what a month has cost, day by day, beside its budget and the month before."""
        request = report.GetSpendSummaryRequest(organization=organization, **wire(month))
        return await self._call(self._report.GetSpendSummary, request, month)

    def list_campaign_spend(self, organization: str, **which: Unpack[fields.SpendList]) -> AsyncIterator[CampaignSpend]:
        """Iterate over a month's spend by campaign, the dearest first, all of it as of one time."""
        request = report.ListCampaignSpendRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListCampaignSpend, request, which, lambda page: page.campaigns)

    def list_department_spend(
        self, organization: str, **which: Unpack[fields.SpendList]
    ) -> AsyncIterator[DepartmentSpend]:
        """Iterate over a month's spend by department, the dearest first, all of it as of one time."""
        request = report.ListDepartmentSpendRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListDepartmentSpend, request, which, lambda page: page.departments)

    def list_agent_spend(self, organization: str, **which: Unpack[fields.SpendList]) -> AsyncIterator[AgentSpend]:
        """Iterate over a month's spend by agent and agent type, the dearest first, all of it as of one time."""
        request = report.ListAgentSpendRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListAgentSpend, request, which, lambda page: page.agents)

    def list_model_spend(self, organization: str, **which: Unpack[fields.SpendList]) -> AsyncIterator[ModelSpend]:
        """Iterate over a month's spend by model, the dearest first, all of it as of one time."""
        request = report.ListModelSpendRequest(organization=organization, **wire(which))
        return self._pages(self._report.ListModelSpend, request, which, lambda page: page.models)

    def list_organizations(self, **which: Unpack[fields.Organizations]) -> AsyncIterator[report.OrganizationInfo]:
        """Iterate over the organizations that the caller may see, by name."""
        request = report.ListOrganizationsRequest(**wire(which))
        return self._pages(self._report.ListOrganizations, request, which, lambda page: page.organizations)

    def list_invoices(self, organization: str, **which: Unpack[fields.Invoices]) -> AsyncIterator[Invoice]:
        """Iterate over invoices and credit notes, without their lines, newest first."""
        request = list_invoices_request(organization, which)
        return self._pages(self._report.ListInvoices, request, which, lambda page: page.invoices)

    async def list_unbilled_periods(self, organization: str, **call: Unpack[fields.Call]) -> list[str]:
        """Return the months that are over, with executions and without an invoice that stands, the oldest first."""
        request = report.ListInvoicesRequest(organization=organization, page_size=1)
        answer = await self._call(self._report.ListInvoices, request, call)
        return list(answer.unbilled_periods)

    async def export_invoice(
        self, organization: str, **which: Unpack[fields.ExportInvoice]
    ) -> AsyncIterator[gate.ExportInvoiceResponse]:
        """Iterate over a month's invoice, issued if it was not, and then pieces of its files in the asked order.

        It takes as long as it takes, unless there is a `timeout_s`.
        """
        metadata = traced(self._metadata)
        request = export_invoice_request(organization, which)
        call = self._gate.ExportInvoice(request, timeout=which.get("timeout_s"), metadata=metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, trace_id_of(metadata)) from error
        finally:
            call.cancel()

    async def watch_status(
        self, organization: str, **watch: Unpack[fields.Watch]
    ) -> AsyncIterator[report.WatchStatusResponse]:
        """Iterate over how budgets stand: a snapshot of all at once, then what changes, without an end.

        A lost connection is made again by itself, and a snapshot comes first then. Raises what a call raises where
        nothing was heard yet, or where no other try helps.
        """
        comeback = Comeback(watch.get("on_lost"))
        while True:
            metadata = traced(self._metadata)
            call = self._report.WatchStatus(report.WatchStatusRequest(organization=organization), metadata=metadata)
            try:
                async for standing in call:
                    comeback.heard()
                    yield standing
                lost = ended()
            except grpc.aio.AioRpcError as error:
                lost = from_rpc_error(error, trace_id_of(metadata))
            finally:
                call.cancel()
            await asyncio.sleep(comeback.pause_s(lost))

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
        metadata = traced(self._metadata)
        try:
            return await rpc(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, trace_id_of(metadata)) from error


def _open(route: Route) -> grpc.aio.Channel:
    if route.credentials is None:
        return grpc.aio.insecure_channel(route.address, options=route.options)
    return grpc.aio.secure_channel(route.address, route.credentials, options=route.options)
