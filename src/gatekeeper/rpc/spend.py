"""How do requests for spend become what is asked of it, and sums messages?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money as WireMoney

from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.forecast import Forecast
from gatekeeper.domain.invoices import BEGINNING
from gatekeeper.domain.spend import Comparison, SpendRow, Totals, share_percent
from gatekeeper.services.reports import Reports
from gatekeeper.services.spend import AGENTS, CAMPAIGNS, DEPARTMENTS, MODELS, Asked, Position, Spending, SpendPage
from gatekeeper_client.v1 import report_service_pb2 as pb
from gatekeeper_client.v1 import spend_pb2

from .money import write_money
from .paging import FOREIGN, page_size, read_instant, read_token, write_token
from .translate import MICROSECOND, read_period, write_status, write_time

NANOS_PER_MICROSECOND = 1000
# A sum of amounts, as page tokens have it.
SUM = re.compile(r"-?[0-9]{1,24}(\.[0-9]{1,9})?", re.ASCII)
COUNTS = (
    "calls",
    "succeeded",
    "failed",
    "cancelled",
    "unknown",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "conversions",
)
AMOUNTS = ("cost", "reserved_amount", "overage_amount", "override_amount", "late_amount", "revenue")

ListRequest: TypeAlias = (
    pb.ListCampaignSpendRequest | pb.ListDepartmentSpendRequest | pb.ListAgentSpendRequest | pb.ListModelSpendRequest
)


async def get_summary(spending: Spending, request: pb.GetSpendSummaryRequest) -> pb.GetSpendSummaryResponse:
    """Tell how a month stands."""
    summary = await spending.summary(read_asked(request))
    month, currency = summary.month, summary.month.organization.currency
    return pb.GetSpendSummaryResponse(
        organization=month.organization.organization,
        period=month.period,
        spend=write_spend(summary.totals, currency, summary.totals.cost),
        budget=write_status(summary.budget, currency) if summary.budget else None,
        days=[
            spend_pb2.DaySpend(day=day.day, cost=write_money(day.cost, currency), calls=day.calls)
            for day in summary.days
        ],
        previous=_write_comparison(summary.previous, currency),
        forecasts=[_write_forecast(forecast, month.today, currency) for forecast in summary.forecasts],
        denials=summary.denials,
        read_time=write_time(month.read_time),
    )


async def list_campaigns(spending: Spending, request: pb.ListCampaignSpendRequest) -> pb.ListCampaignSpendResponse:
    """List a month's spend by campaign."""
    page = await _page(spending, request, CAMPAIGNS)
    return pb.ListCampaignSpendResponse(
        campaigns=_entries(page, lambda key, sums: spend_pb2.CampaignSpend(campaign=key[0], **sums)),
        **_ends(request, page),
    )


async def list_departments(
    spending: Spending, request: pb.ListDepartmentSpendRequest
) -> pb.ListDepartmentSpendResponse:
    """List a month's spend by department."""
    page = await _page(spending, request, DEPARTMENTS)
    return pb.ListDepartmentSpendResponse(
        departments=_entries(page, lambda key, sums: spend_pb2.DepartmentSpend(department=key[0], **sums)),
        **_ends(request, page),
    )


async def list_agents(spending: Spending, request: pb.ListAgentSpendRequest) -> pb.ListAgentSpendResponse:
    """List a month's spend by agent and agent type."""
    page = await _page(spending, request, AGENTS)
    return pb.ListAgentSpendResponse(
        agents=_entries(page, lambda key, sums: spend_pb2.AgentSpend(agent=key[0], agent_type=key[1], **sums)),
        **_ends(request, page),
    )


async def list_models(spending: Spending, request: pb.ListModelSpendRequest) -> pb.ListModelSpendResponse:
    """List a month's spend by model."""
    page = await _page(spending, request, MODELS)
    return pb.ListModelSpendResponse(
        models=_entries(page, lambda key, sums: spend_pb2.ModelSpend(model=key[0], **sums)), **_ends(request, page)
    )


def _write_forecast(forecast: Forecast, today: date, currency: str) -> spend_pb2.SpendForecast:
    used_up = None if forecast.exhausted_in is None else today + timedelta(days=forecast.exhausted_in)
    return spend_pb2.SpendForecast(
        method=spend_pb2.ForecastMethod.Value(f"FORECAST_METHOD_{forecast.method}"),
        projected=write_money(forecast.projected, currency),
        low=write_money(forecast.low, currency),
        high=write_money(forecast.high, currency),
        confidence_percent=forecast.confidence_percent,
        exhaustion_day="" if used_up is None else used_up.isoformat(),
        days_observed=forecast.days_observed,
    )


def read_asked(request: Any) -> Asked:
    """Read whose month is asked for, and as of when. Raises `InvalidField`."""
    return Asked(organization=request.organization, period=read_month(request.period), as_of=_read_as_of(request))


def read_month(period: str) -> str:
    """Read a month, whose form has been checked. Raises `InvalidField`."""
    if period and read_period(period) < f"{BEGINNING:%Y-%m}":
        raise InvalidField(field="period", problem=f"must be {BEGINNING:%Y-%m} or later")
    return period


def _read_as_of(request: Any) -> datetime | None:
    """Read an instant; the part of a microsecond that it has counts as a whole one."""
    if not request.HasField("as_of"):
        return None
    try:
        instant: datetime = request.as_of.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field="as_of", problem="must be an instant between the year 1970 and now") from error
    if instant < BEGINNING:
        raise InvalidField(field="as_of", problem="must be an instant between the year 1970 and now")
    return instant + MICROSECOND * bool(request.as_of.nanos % NANOS_PER_MICROSECOND)


async def _page(spending: Spending, request: ListRequest, by: tuple[str, ...]) -> SpendPage:
    position = _read_position(read_token(request, 2 + len(by)))
    return await spending.page(read_asked(request), by, position, page_size(request.page_size))


def _read_position(parts: Sequence[str] | None) -> Position | None:
    if parts is None:
        return None
    read_time = read_instant(parts[0])
    if read_time < BEGINNING or not SUM.fullmatch(parts[1]):
        raise InvalidField(field="page_token", problem=FOREIGN)
    return Position(read_time=read_time, cost=Decimal(parts[1]), key=tuple(parts[2:]))


def _ends(request: ListRequest, page: SpendPage) -> dict[str, Any]:
    """Return what every page has beside its entries."""
    after = page.after
    position = None if after is None else (after.read_time, f"{after.cost:f}", *after.key)
    return {"next_page_token": write_token(request, position), "read_time": write_time(page.month.read_time)}


def _entries(page: SpendPage, entry: Callable[[tuple[str, ...], dict[str, Any]], Any]) -> list[Any]:
    return [entry(row.key, _sums(page, row)) for row in page.rows]


def _sums(page: SpendPage, row: SpendRow) -> dict[str, Any]:
    """Return a row's sums, and the budget that it falls under, as fields of an entry."""
    currency = page.month.organization.currency
    sums: dict[str, Any] = {"spend": write_spend(row.totals, currency, page.cost)}
    if (balance := page.budgets.get(row.key[0])) is not None:
        sums["budget"] = write_status(balance, currency)
    return sums


def write_spend(totals: Totals, currency: str, whole: Decimal) -> spend_pb2.Spend:
    """Write sums, and what follows from them; `whole` is the cost that theirs is a share of."""
    counts: dict[str, Any] = {name: getattr(totals, name) for name in COUNTS}
    amounts: dict[str, Any] = {name: write_money(getattr(totals, name), currency) for name in AMOUNTS}
    written = spend_pb2.Spend(
        **counts,
        **amounts,
        quality_score=totals.quality_score,
        impact_score=totals.impact_score,
        cost_per_call=_write_quotient(totals.cost_per_call, currency),
        success_rate_percent=totals.success_rate_percent,
        cost_per_conversion=_write_quotient(totals.cost_per_conversion, currency),
        return_on_spend=totals.return_on_spend,
        share_percent=share_percent(totals.cost, whole),
    )
    if totals.latency is not None:
        latency = Duration()
        latency.FromTimedelta(totals.latency)
        written.latency.CopyFrom(latency)
    return written


def _write_quotient(amount: Decimal | None, currency: str) -> WireMoney | None:
    return None if amount is None else write_money(amount, currency)


def _write_comparison(previous: Comparison, currency: str) -> spend_pb2.MonthComparison:
    return spend_pb2.MonthComparison(
        period=previous.period,
        cost=write_money(previous.cost, currency),
        cost_to_same_day=write_money(previous.cost_to_same_day, currency),
        change_percent=previous.change_percent,
    )


async def list_organizations(reports: Reports, request: pb.ListOrganizationsRequest) -> pb.ListOrganizationsResponse:
    """List organizations by name; whoever is bound to one sees that one."""
    position = read_token(request, 1)
    after = position[0] if position else ""
    listed, last = await reports.organizations(request.organization, after, page_size(request.page_size))
    return pb.ListOrganizationsResponse(
        organizations=[
            pb.OrganizationInfo(
                organization=each.organization,
                currency_code=each.currency,
                time_zone=each.time_zone,
                create_time=write_time(each.created_at),
            )
            for each in listed
        ],
        next_page_token=write_token(request, (last,) if last else None),
    )
