"""How do requests about a whole month become questions, and statements, split costs and reports messages?"""

from __future__ import annotations

from datetime import UTC, datetime

from gatekeeper.domain.cost_splits import Attributed, Share, SplitModel, SplitRule
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.evidence import Recommendation, RecommendationRule
from gatekeeper.domain.statements import Movement, Statement
from gatekeeper.services.cost_splits import SplitCosts
from gatekeeper.services.monthly_report import MonthlyReport
from gatekeeper.services.statements import Drawn
from gatekeeper_client.v1 import report_service_pb2 as pb
from gatekeeper_client.v1 import spend_pb2

from .money import write_money
from .translate import write_scope, write_time

MODEL_OF = {spend_pb2.SplitModel.Value(f"SPLIT_MODEL_{model}"): model for model in SplitModel}
RULES = {rule: spend_pb2.RecommendationRule.Value(f"RECOMMENDATION_RULE_{rule}") for rule in RecommendationRule}

# What each line of a statement stands for.
LINES = {
    "holds": "Holds placed",
    "releases": "Holds given back by release",
    "expiries": "Holds that expired",
    "settled_holds": "Holds that a commit ended",
    "commits": "Cost of executions, expiry charges and their reversals among them",
    "overage": "Of that, beyond what was held",
    "override_use": "Of that, paid for by overrides",
}


def read_as_of(request: pb.GetAttributedSpendRequest) -> datetime | None:
    """Read as of when a month is asked for; None: as it is now. Raises `InvalidField`."""
    if not request.HasField("as_of"):
        return None
    try:
        return request.as_of.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field="as_of", problem="must be an instant between the years 1 and 9999") from error


def read_rules(request: pb.GetAttributedSpendRequest) -> list[SplitRule]:
    """Read what is shared, and by whom."""
    return [
        SplitRule(
            label=rule.label,
            value=rule.value,
            model=MODEL_OF[rule.model],
            shares=[Share(id=share.id, weight=share.weight) for share in rule.shares],
        )
        for rule in request.rules
    ]


def write_split(split: SplitCosts) -> pb.GetAttributedSpendResponse:
    """Write by whom a month's cost is borne."""
    currency = split.organization.currency
    return pb.GetAttributedSpendResponse(
        entries=[_write_attributed(entry, currency) for entry in split.entries],
        cost=write_money(split.cost, currency),
        read_time=write_time(split.read_time),
    )


def _write_attributed(entry: Attributed, currency: str) -> spend_pb2.AttributedSpend:
    return spend_pb2.AttributedSpend(
        id=entry.id,
        own=write_money(entry.own, currency),
        shared=write_money(entry.shared, currency),
        cost=write_money(entry.cost, currency),
    )


def write_statement(drawn: Drawn) -> pb.GetStatementResponse:
    """Write a statement."""
    statement, currency = drawn.statement, drawn.organization.currency
    written = spend_pb2.Statement(
        organization=drawn.organization.organization,
        scope=write_scope(statement.balance.key.scope),
        period=statement.balance.key.period,
        cap=write_money(statement.balance.cap, currency),
        opening_balance=write_money(statement.opening, currency),
        closing_balance=write_money(statement.closing, currency),
        read_time=write_time(statement.read_at),
    )
    for name, description in LINES.items():
        line = _write_line(description, _movement(statement, name), currency)
        getattr(written, name).CopyFrom(line)
    return pb.GetStatementResponse(statement=written)


def _movement(statement: Statement, name: str) -> Movement:
    movement: Movement = getattr(statement, name)
    return movement


def _write_line(description: str, movement: Movement, currency: str) -> spend_pb2.StatementLine:
    amount = write_money(movement.amount, currency)
    return spend_pb2.StatementLine(description=description, amount=amount, count=movement.count)


def write_monthly_report(report: MonthlyReport) -> pb.GetMonthlyReportResponse:
    """Write a month's report."""
    return pb.GetMonthlyReportResponse(
        period=report.period,
        markdown=report.markdown,
        recommendations=[_write_recommendation(made, report.currency) for made in report.recommendations],
    )


def _write_recommendation(made: Recommendation, currency: str) -> spend_pb2.Recommendation:
    return spend_pb2.Recommendation(
        rule=RULES[made.rule],
        message=made.message,
        saving=write_money(made.saving, currency),
        subject=made.subject,
    )
