"""How is spend told, to people, to spreadsheets and to programs?"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from gatekeeper_client import from_money

from .output import shown
from .override_texts import instant_text
from .statuses import amount_text, status_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.type.money_pb2 import Money

    from gatekeeper_client.v1.report_service_pb2 import GetSpendSummaryResponse
    from gatekeeper_client.v1.reservation_pb2 import Execution
    from gatekeeper_client.v1.spend_pb2 import MonthComparison, Spend, SpendForecast

    from .csv_output import Cell

NO_NAME: Final = "(none)"
COUNTS: Final = (
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
AMOUNTS: Final = ("cost", "reserved_amount", "overage_amount", "override_amount", "late_amount", "revenue")
QUOTIENTS: Final = ("cost_per_call", "cost_per_conversion")
RATIOS: Final = ("success_rate_percent", "quality_score", "impact_score", "return_on_spend")
# The columns of a list for people, behind the names that it goes by.
COLUMNS: Final = ("Cost", "Share", "Calls", "Input tokens", "Output tokens", "Cost a call", "Success", "Used")
OPTIONAL: Final = ("Output tokens", "Input tokens", "Cost a call", "Success", "Used", "Share")
CSV_COLUMNS: Final = ("currency", *AMOUNTS, *COUNTS, *QUOTIENTS, *RATIOS, "latency_s", "share_percent")
DAY_COLUMNS: Final = ("Day", "Cost", "Calls")
TEXTS: Final = (
    "reservation_id",
    "department",
    "campaign",
    "agent",
    "agent_type",
    "run",
    "task",
    "model",
    "day",
    "month",
)
EXECUTION_COLUMNS: Final = ("Time (UTC)", "Campaign", "Agent", "Model", "Outcome", "Cost", "Held")
EXECUTION_TOKENS: Final = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")
EXECUTION_CSV_COLUMNS: Final = (
    "commit_time",
    "kind",
    "outcome",
    "late",
    "currency",
    "cost",
    "reserved_amount",
    *EXECUTION_TOKENS,
    *TEXTS,
    "override_id",
    "override_amount",
)


def spend_document(spend: Spend) -> dict[str, Any]:
    """Return sums for programs: amounts are strings, and what is not known is null."""
    return {
        "currency": spend.cost.currency_code,
        **{name: amount_text(getattr(spend, name)) for name in AMOUNTS},
        **{name: getattr(spend, name) for name in COUNTS},
        **{name: amount_text(getattr(spend, name)) if spend.HasField(name) else None for name in QUOTIENTS},
        **{name: getattr(spend, name) if spend.HasField(name) else None for name in RATIOS},
        "latency_s": _latency_s(spend),
        "share_percent": spend.share_percent,
    }


def entry_document(entry: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return an entry of a list for programs, with the names that the list goes by."""
    budget = {"budget": status_document(entry.budget) if entry.HasField("budget") else None} if _budgeted(entry) else {}
    return {**{name: getattr(entry, name) for name in names}, **spend_document(entry.spend), **budget}


def summary_document(summary: GetSpendSummaryResponse) -> dict[str, Any]:
    """Return a month for programs."""
    return {
        "organization": summary.organization,
        "period": summary.period,
        "spend": spend_document(summary.spend),
        "budget": status_document(summary.budget) if summary.HasField("budget") else None,
        "days": [{"day": day.day, "cost": amount_text(day.cost), "calls": day.calls} for day in summary.days],
        "previous": _previous_document(summary.previous),
        "forecasts": [_forecast_document(forecast) for forecast in summary.forecasts],
        "denials": summary.denials,
        "read_time": instant_text(summary.read_time),
    }


def _previous_document(previous: MonthComparison) -> dict[str, Any]:
    return {
        "period": previous.period,
        "cost": amount_text(previous.cost),
        "cost_to_same_day": amount_text(previous.cost_to_same_day),
        "change_percent": previous.change_percent if previous.HasField("change_percent") else None,
    }


def _forecast_document(forecast: SpendForecast) -> dict[str, Any]:
    return {
        "method": _method(forecast),
        "projected": amount_text(forecast.projected),
        "low": amount_text(forecast.low),
        "high": amount_text(forecast.high),
        "confidence_percent": forecast.confidence_percent,
        "exhaustion_day": forecast.exhaustion_day or None,
        "days_observed": forecast.days_observed,
    }


def _forecast_line(forecast: SpendForecast) -> tuple[str, str]:
    used_up = f"; used up on {forecast.exhaustion_day}" if forecast.exhaustion_day else ""
    interval = f"{amount_text(forecast.low)} to {amount_text(forecast.high)} at {forecast.confidence_percent} %"
    return (
        f"Expected by {_method(forecast).replace('_', ' ')}",
        f"{amount_text(forecast.projected)} ({interval}){used_up}",
    )


def _method(forecast: SpendForecast) -> str:
    from gatekeeper_client.v1.spend_pb2 import ForecastMethod

    return ForecastMethod.Name(forecast.method).removeprefix("FORECAST_METHOD_").lower()


def spend_cells(spend: Spend) -> list[Cell]:
    """Return the CSV_COLUMNS of sums: numbers without separators, nothing where nothing is known."""
    return [
        spend.cost.currency_code,
        *(from_money(getattr(spend, name)) for name in AMOUNTS),
        *(getattr(spend, name) for name in COUNTS),
        *(from_money(getattr(spend, name)) if spend.HasField(name) else None for name in QUOTIENTS),
        *(getattr(spend, name) if spend.HasField(name) else None for name in RATIOS),
        _latency_s(spend),
        spend.share_percent,
    ]


def _latency_s(spend: Spend) -> float | None:
    return spend.latency.ToTimedelta().total_seconds() if spend.HasField("latency") else None


def entry_row(entry: Any, names: Sequence[str]) -> list[str]:
    """Return an entry of a list for people: its names, and COLUMNS."""
    spend = entry.spend
    has_budget = _budgeted(entry) and entry.HasField("budget")
    return [
        *(shown(getattr(entry, name)) or NO_NAME for name in names),
        amount_text(spend.cost),
        f"{spend.share_percent:.1f} %",
        f"{spend.calls:,}",
        f"{spend.input_tokens:,}",
        f"{spend.output_tokens:,}",
        optional_text(spend, "cost_per_call"),
        percent_text(spend, "success_rate_percent"),
        f"{entry.budget.utilization_percent:.1f} %" if has_budget else "",
    ]


def summary_lines(summary: GetSpendSummaryResponse) -> list[tuple[str, str]]:
    """Return what a month comes to for people, as names and figures."""
    spend = summary.spend
    lines = [
        ("Cost", amount_text(spend.cost)),
        ("Calls", f"{spend.calls:,}, {summary.denials:,} more denied"),
        ("Cost a call", optional_text(spend, "cost_per_call")),
        ("Success", percent_text(spend, "success_rate_percent")),
        ("Tokens", f"{spend.input_tokens:,} in, {spend.output_tokens:,} out"),
        ("Held for it", amount_text(spend.reserved_amount)),
        ("Beyond what was held", amount_text(spend.overage_amount)),
        ("Paid by overrides", amount_text(spend.override_amount)),
        ("Recorded late", amount_text(spend.late_amount)),
    ]
    previous = summary.previous
    change = f" ({previous.change_percent:+.1f} %)" if previous.HasField("change_percent") else ""
    lines.append((f"{previous.period}, to the same day", f"{amount_text(previous.cost_to_same_day)}{change}"))
    lines.append((f"{previous.period}, in all", amount_text(previous.cost)))
    lines += map(_forecast_line, summary.forecasts)
    return [(name, figure) for name, figure in lines if figure]


def optional_text(spend: Spend, name: str) -> str:
    """Write an amount that may be unknown."""
    money: Money = getattr(spend, name)
    return amount_text(money) if spend.HasField(name) else ""  # type: ignore[arg-type]


def percent_text(spend: Spend, name: str) -> str:
    """Write a share that may be unknown."""
    return f"{getattr(spend, name):.1f} %" if spend.HasField(name) else ""  # type: ignore[arg-type]


def _budgeted(entry: Any) -> bool:
    return "budget" in entry.DESCRIPTOR.fields_by_name


def execution_document(execution: Execution) -> dict[str, Any]:
    """Return an entry of the billing log for programs."""
    cells = dict(zip(EXECUTION_CSV_COLUMNS, map(_plain, execution_cells(execution)), strict=True))
    return {**cells, "late": execution.late}


def execution_cells(execution: Execution) -> list[Cell]:
    """Return the EXECUTION_CSV_COLUMNS of an entry of the billing log."""
    return [
        execution.commit_time.ToDatetime(UTC).isoformat(timespec="microseconds"),
        _kind_of(execution),
        outcome_of(execution),
        str(execution.late).lower(),
        execution.cost.currency_code,
        from_money(execution.cost),
        from_money(execution.reserved_amount),
        *(getattr(execution, name) for name in EXECUTION_TOKENS),
        *(getattr(execution, name) for name in TEXTS),
        execution.override_id,
        from_money(execution.override_amount),
    ]


def execution_row(execution: Execution) -> list[str]:
    """Return the EXECUTION_COLUMNS of an entry of the billing log."""
    kind = _kind_of(execution)
    return [
        f"{execution.commit_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}",
        shown(execution.campaign),
        shown(execution.agent),
        shown(execution.model),
        outcome_of(execution) if kind == "COMMIT" else kind,
        amount_text(execution.cost),
        amount_text(execution.reserved_amount),
    ]


def outcome_of(execution: Execution) -> str:
    """Return the name of an outcome."""
    from gatekeeper_client.v1.reservation_pb2 import Outcome

    return Outcome.Name(execution.outcome).removeprefix("OUTCOME_")


def _kind_of(execution: Execution) -> str:
    from gatekeeper_client.v1.reservation_pb2 import ExecutionKind

    return ExecutionKind.Name(execution.kind).removeprefix("EXECUTION_KIND_")


def _plain(cell: Cell) -> Cell:
    from decimal import Decimal

    from gatekeeper.domain.money import plain

    return plain(cell) if isinstance(cell, Decimal) else cell
