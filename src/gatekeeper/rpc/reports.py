"""Which RPCs do dashboards, reports and auditors call?"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.periods import TOTAL, Window
from gatekeeper.services.alerts import Alerts
from gatekeeper.services.audit_trail import AuditTrail
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.cost_splits import CostSplits
from gatekeeper.services.invoices import Invoices
from gatekeeper.services.monthly_report import MonthlyReports
from gatekeeper.services.overrides import Grants
from gatekeeper.services.reports import Reports
from gatekeeper.services.spend import Spending
from gatekeeper.services.statements import Statements
from gatekeeper.services.watch import Watches
from gatekeeper_client.v1 import report_service_pb2 as pb

from . import alerts as alert_messages
from . import months as month_messages
from . import spend
from .audit_events import read_filters, read_position, write_page
from .boundary import CallInfo
from .invoices import list_invoices
from .overrides import list_overrides
from .paging import FOREIGN, page_size, read_instant, read_token, write_token
from .translate import (
    EXECUTION_KIND_OF,
    OUTCOME_OF,
    SCOPE_KIND_OF,
    STATE_OF,
    read_period,
    read_scope,
    write_budget,
    write_execution,
    write_reservation,
)


class ReportServicer:
    """gatekeeper.v1.ReportService, by all that can be read."""

    def __init__(
        self,
        *,
        reports: Reports,
        budgets: Budgets,
        trail: AuditTrail,
        alerts: Alerts,
        grants: Grants,
        watches: Watches,
        spending: Spending,
        statements: Statements,
        splits: CostSplits,
        monthly: MonthlyReports,
        invoices: Invoices,
    ) -> None:
        """Answer by these services."""
        self._reports = reports
        self._budgets = budgets
        self._trail = trail
        self._alerts = alerts
        self._grants = grants
        self._watches = watches
        self._spending = spending
        self._statements = statements
        self._splits = splits
        self._monthly = monthly
        self._invoices = invoices

    async def ListBudgets(self, request: pb.ListBudgetsRequest, _info: CallInfo) -> pb.ListBudgetsResponse:
        """List an organization's budgets."""
        size = page_size(request.page_size)
        position = read_token(request, 3)
        standings = await self._budgets.page(
            request.organization,
            SCOPE_KIND_OF.get(request.scope_kind),
            None if position is None else _budget_key(position),
            size + 1,
        )
        more = len(standings) > size
        standings = standings[:size]
        last = standings[-1].budget if more else None
        return pb.ListBudgetsResponse(
            budgets=[write_budget(s.budget, s.balance, s.organization.currency) for s in standings],
            next_page_token=write_token(request, (*last.scope, last.window) if last else None),
        )

    async def ListReservations(
        self, request: pb.ListReservationsRequest, _info: CallInfo
    ) -> pb.ListReservationsResponse:
        """List an organization's reservations, newest first."""
        filters = {name: getattr(request, name) for name in ("department", "campaign", "agent", "run")}
        filters["state"] = STATE_OF.get(request.state, "")
        position = read_token(request, 2)
        after = None if position is None else (read_instant(position[0]), position[1])
        page = await self._reports.reservations(request.organization, filters, after, page_size(request.page_size))
        return pb.ListReservationsResponse(
            reservations=[write_reservation(held, page.organization) for held in page.entries],
            next_page_token=write_token(request, page.after),
        )

    async def ListExecutions(self, request: pb.ListExecutionsRequest, _info: CallInfo) -> pb.ListExecutionsResponse:
        """List an organization's billing log, newest first."""
        names = ("department", "campaign", "agent", "run", "model")
        filters = {name: getattr(request, name) for name in names}
        filters["period"] = "" if request.period == TOTAL else read_period(request.period)
        filters["outcome"] = OUTCOME_OF.get(request.outcome, "")
        filters["kind"] = EXECUTION_KIND_OF.get(request.kind, "")
        position = read_token(request, 3)
        after = None if position is None else (read_instant(position[0]), position[1], position[2])
        page = await self._reports.executions(request.organization, filters, after, page_size(request.page_size))
        return pb.ListExecutionsResponse(
            executions=[write_execution(entry, page.organization) for entry in page.entries],
            next_page_token=write_token(request, page.after),
        )

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, _info: CallInfo) -> pb.ListAuditEventsResponse:
        """List an organization's audit trail, newest first; the installation's for an empty one."""
        position = read_position(read_token(request, 3))
        page = await self._trail.page(
            request.organization, read_filters(request), position, page_size(request.page_size)
        )
        return write_page(request, page)

    async def ListAlerts(self, request: pb.ListAlertsRequest, _info: CallInfo) -> pb.ListAlertsResponse:
        """List an organization's alerts, newest first; the installation's for an empty one."""
        position = alert_messages.read_position(read_token(request, 1))
        filters = alert_messages.read_filters(request)
        page = await self._alerts.page(request.organization, filters, position, page_size(request.page_size))
        return alert_messages.write_page(request, page)

    async def ListOverrides(self, request: pb.ListOverridesRequest, _info: CallInfo) -> pb.ListOverridesResponse:
        """List an organization's overrides, newest first."""
        return await list_overrides(self._grants, request)

    async def GetSpendSummary(self, request: pb.GetSpendSummaryRequest, _info: CallInfo) -> pb.GetSpendSummaryResponse:
        """Tell how a month stands."""
        return await spend.get_summary(self._spending, request)

    async def ListCampaignSpend(
        self, request: pb.ListCampaignSpendRequest, _info: CallInfo
    ) -> pb.ListCampaignSpendResponse:
        """List a month's spend by campaign, the dearest first."""
        return await spend.list_campaigns(self._spending, request)

    async def ListDepartmentSpend(
        self, request: pb.ListDepartmentSpendRequest, _info: CallInfo
    ) -> pb.ListDepartmentSpendResponse:
        """List a month's spend by department, the dearest first."""
        return await spend.list_departments(self._spending, request)

    async def ListAgentSpend(self, request: pb.ListAgentSpendRequest, _info: CallInfo) -> pb.ListAgentSpendResponse:
        """List a month's spend by agent and agent type, the dearest first."""
        return await spend.list_agents(self._spending, request)

    async def ListModelSpend(self, request: pb.ListModelSpendRequest, _info: CallInfo) -> pb.ListModelSpendResponse:
        """List a month's spend by model, the dearest first."""
        return await spend.list_models(self._spending, request)

    async def GetAttributedSpend(
        self, request: pb.GetAttributedSpendRequest, _info: CallInfo
    ) -> pb.GetAttributedSpendResponse:
        """Split what several share of a month's cost, by rules."""
        split = await self._splits.attribute(
            request.organization,
            read_period(request.period),
            SCOPE_KIND_OF[request.scope_kind],
            month_messages.read_rules(request),
            month_messages.read_as_of(request),
        )
        return month_messages.write_split(split)

    async def GetStatement(self, request: pb.GetStatementRequest, _info: CallInfo) -> pb.GetStatementResponse:
        """Tell what has happened to a scope's monthly budget."""
        scope, period = read_scope(request.scope, "scope"), read_period(request.period)
        return month_messages.write_statement(await self._statements.draw_up(request.organization, scope, period))

    async def GetMonthlyReport(
        self, request: pb.GetMonthlyReportRequest, _info: CallInfo
    ) -> pb.GetMonthlyReportResponse:
        """Tell a month in Markdown, and what would save money."""
        report = await self._monthly.report(request.organization, read_period(request.period))
        return month_messages.write_monthly_report(report)

    async def ListInvoices(self, request: pb.ListInvoicesRequest, _info: CallInfo) -> pb.ListInvoicesResponse:
        """List an organization's invoices and credit notes, newest first."""
        return await list_invoices(self._invoices, request)

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, _info: CallInfo
    ) -> pb.ListOrganizationsResponse:
        """List the organizations that the caller may see, by name."""
        return await spend.list_organizations(self._reports, request)

    def WatchStatus(self, request: pb.WatchStatusRequest, _info: CallInfo) -> AsyncGenerator[bytes | None]:
        """Tell how an organization's budgets stand, now and whenever that changes."""
        return self._watches.messages(request.organization)


def _budget_key(position: list[str]) -> tuple[Scope, Window]:
    try:
        return Scope(ScopeKind(position[0]), position[1]), Window(position[2])
    except ValueError as error:
        raise InvalidField(field="page_token", problem=FOREIGN) from error
