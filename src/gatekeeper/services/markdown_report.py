"""How is a month told? In Markdown, for people: what it cost, what to do, then every way to look at it.

Names come from callers. They stand in code spans, in which nothing becomes a link, HTML or a cell of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gatekeeper.domain.budget import HUNDRED, Balance
from gatekeeper.domain.evidence import RecommendationRule
from gatekeeper.domain.forecast import ForecastMethod
from gatekeeper.domain.month_figures import DeniedCalls, MonthFigures
from gatekeeper.domain.spend import SpendRow

from .markdown_log import name_cell
from .markdown_tables import (
    NOTHING,
    ROWS_MAX,
    Row,
    change,
    cost_per_call,
    money,
    more,
    percent,
    rough,
    scope_text,
    sparkline,
    success_text,
    table,
)

METHODS = {
    ForecastMethod.RUN_RATE: "run rate",
    ForecastMethod.DAMPED_HOLT: "damped trend and season",
}
# What a recommendation's sum is.
SAVINGS = {
    RecommendationRule.CHEAPER_MODEL: "saves",
    RecommendationRule.OVER_RESERVATION: "frees",
    RecommendationRule.FAILING_AGENT: "saves",
    RecommendationRule.CAMPAIGN_EXHAUSTION: "beyond the cap",
    RecommendationRule.EXPIRING_HOLDS: "frees",
}


def write_report(figures: MonthFigures) -> str:
    """Return a month's report. The same figures give the same text."""
    sections = (
        _head(figures),
        _recommendations(figures),
        _utilization(figures),
        _days(figures),
        _spend("Campaigns", ("Campaign",), figures.campaigns, figures),
        _spend("Departments", ("Department",), figures.departments, figures),
        _spend("Agent types", ("Agent type",), figures.agent_types, figures),
        _spend("Agents", ("Agent", "Agent type"), figures.agents, figures),
        _spend("Models", ("Model",), figures.models, figures),
        _overrides(figures),
        _denials(figures),
        _expired(figures),
        _estimates(figures),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(figures: MonthFigures) -> Iterator[str]:
    organization, spend, before = figures.organization, figures.spend, figures.previous
    yield f"# Spend in {figures.period}: {name_cell(organization.organization)}"
    yield ""
    over = "" if figures.is_over else " The month is not over."
    yield (
        f"As of {figures.read_at:%Y-%m-%d %H:%M:%S} UTC, in {organization.currency}; days are those of"
        f" {organization.time_zone}.{over}"
    )
    yield ""
    rows = (
        ("Cost", money(spend.cost), money(before.cost), change(spend.cost, before.cost)),
        ("Calls", f"{spend.calls:,}", f"{before.calls:,}", change(spend.calls, before.calls)),
        ("Cost per call", cost_per_call(spend), cost_per_call(before), ""),
        ("Succeeded", success_text(spend), success_text(before), ""),
        (
            "Input tokens",
            f"{spend.input_tokens:,}",
            f"{before.input_tokens:,}",
            change(spend.input_tokens, before.input_tokens),
        ),
        (
            "Output tokens",
            f"{spend.output_tokens:,}",
            f"{before.output_tokens:,}",
            change(spend.output_tokens, before.output_tokens),
        ),
        ("Paid by overrides", money(spend.override_amount), money(before.override_amount), ""),
        ("Recorded late", money(spend.late_amount), money(before.late_amount), ""),
    )
    yield from table(("", "This month", "The month before", "Change"), rows, numbers=(1, 2, 3))
    for forecast in figures.forecasts[:1]:
        yield ""
        yield (
            f"At this pace the month will have cost some {money(rough(forecast.projected))}"
            f" {organization.currency}: between {money(rough(forecast.low))} and {money(rough(forecast.high))} in"
            f" {forecast.confidence_percent} of 100 such months ({METHODS[forecast.method]},"
            f" {forecast.days_observed} days)."
        )


def _recommendations(figures: MonthFigures) -> Iterator[str]:
    yield "## Recommendations"
    yield ""
    if not figures.recommendations:
        yield "None: no rule found anything to save."
    for number, made in enumerate(figures.recommendations[:ROWS_MAX], 1):
        text = made.text.format(*(name_cell(name) for name in made.names))
        amount = f"{money(made.saving)} {figures.organization.currency}"
        yield f"{number}. **{SAVINGS[made.rule]} {amount}** ({made.rule}): {text}"
    yield from more(len(figures.recommendations), "recommendations")


def _utilization(figures: MonthFigures) -> Iterator[str]:
    yield "## Utilization"
    yield ""
    shown = sorted(figures.balances, key=lambda balance: (bool(balance.key.scope.id), -balance.utilization_percent()))
    rows = (_standing(balance) for balance in shown[:ROWS_MAX])
    columns = ("Budget", "Cap", "Spent", "Held", "Available", "Used", "Tier")
    yield from table(columns, rows, numbers=(1, 2, 3, 4, 5), empty="No monthly budget stood in this month.")
    yield from more(len(shown), "budgets")


def _standing(balance: Balance) -> Row:
    amounts = (balance.cap, balance.spent, balance.reserved, balance.available)
    return (
        scope_text(balance.key.scope),
        *map(money, amounts),
        percent(balance.utilization_percent()),
        balance.tier.value,
    )


def _days(figures: MonthFigures) -> Iterator[str]:
    yield "## Days"
    yield ""
    days = figures.calendar
    costs = [figures.cost_on(day) for day in days]
    yield f"`{sparkline(costs)}`"
    yield ""
    if not any(costs):
        yield "No day has cost anything."
        return
    dearest = max(range(len(days)), key=costs.__getitem__)
    mean = figures.spend.cost / len(days)
    yield (
        f"From {days[0]} to {days[-1]}: {money(rough(mean))} a day in the mean, {money(costs[dearest])} on"
        f" {days[dearest]}, the dearest."
    )


def _spend(title: str, names: Row, rows: Sequence[SpendRow], figures: MonthFigures) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    columns = (*names, "Cost", "Share", "Calls", "Per call", "Succeeded")
    numbers = tuple(range(len(names), len(columns)))
    whole = figures.spend.cost
    shown = (
        (
            *(name_cell(name) or NOTHING for name in row.key),
            money(row.totals.cost),
            percent(HUNDRED * row.totals.cost / whole) if whole else NOTHING,
            f"{row.totals.calls:,}",
            cost_per_call(row.totals),
            success_text(row.totals),
        )
        for row in rows[:ROWS_MAX]
    )
    yield from table(columns, shown, numbers=numbers, empty="There were no calls.")
    yield from more(len(rows), title.lower())


def _overrides(figures: MonthFigures) -> Iterator[str]:
    yield "## Overrides used"
    yield ""
    rows = (
        (
            name_cell(used.override_id),
            name_cell(used.reason),
            name_cell(used.granted_by),
            f"{used.calls:,}",
            money(used.amount),
        )
        for used in figures.overrides[:ROWS_MAX]
    )
    columns = ("Override", "Reason", "Granted by", "Calls", "Paid")
    yield from table(columns, rows, numbers=(3, 4), empty="No override paid for anything.")
    yield from more(len(figures.overrides), "overrides")


def _denials(figures: MonthFigures) -> Iterator[str]:
    yield "## Denials"
    yield ""
    if figures.denied:
        yield f"{figures.denied:,} calls were denied."
        yield ""
    rows = (
        (denied.reason, _budget(denied), f"{denied.calls:,}", money(denied.requested))
        for denied in figures.denials[:ROWS_MAX]
    )
    columns = ("Reason", "Budget", "Calls", "Asked for")
    yield from table(columns, rows, numbers=(2, 3), empty="No call was denied.")


def _budget(denied: DeniedCalls) -> str:
    if denied.key is None:
        return NOTHING
    return f"{scope_text(denied.key.scope)}, {denied.key.window.lower()}"


def _expired(figures: MonthFigures) -> Iterator[str]:
    yield "## Holds that expired"
    yield ""
    rows = (
        (
            name_cell(found.name or found.caller) or "without a token",
            f"{found.expired:,}",
            f"{found.holds:,}",
            money(found.amount),
            money(found.charged),
        )
        for found in figures.callers[:ROWS_MAX]
    )
    columns = ("Caller", "Expired", "Of holds", "Held", "Charged")
    yield from table(columns, rows, numbers=(1, 2, 3, 4), empty="No hold expired.")


def _estimates(figures: MonthFigures) -> Iterator[str]:
    yield "## Estimates"
    yield ""
    rows = (
        (
            name_cell(found.agent_type) or NOTHING,
            f"{found.calls:,}",
            money(found.reserved),
            money(found.cost),
            *(f"{unused:.1f} %" for unused in (found.unused_mean, found.unused_p50, found.unused_p95)),
        )
        for found in figures.accuracy[:ROWS_MAX]
    )
    columns = ("Agent type", "Calls", "Held", "Cost", "Not used, mean", "Middle call", "95 of 100 at most")
    yield from table(columns, rows, numbers=(1, 2, 3, 4, 5, 6), empty="No call was held for and committed in time.")
    yield from more(len(figures.accuracy), "agent types")
