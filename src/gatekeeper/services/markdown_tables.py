"""How are tables and figures written in Markdown? Names in code spans, amounts exact, estimates rounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

from gatekeeper.domain.budget import HUNDRED, Scope
from gatekeeper.domain.money import EXACT, NANO, plain
from gatekeeper.domain.spend import Totals

from .markdown_log import name_cell

# Rows of a table; what is beyond is counted. ReportService lists all.
ROWS_MAX = 25
NOTHING = "-"
BARS = "▁▂▃▄▅▆▇█"
TENTH = Decimal("0.1")
CENT = Decimal("0.01")
_ROUGH = Context(prec=3)

Row = Sequence[str]


def table(columns: Row, rows: Iterable[Row], *, numbers: Sequence[int], empty: str = "") -> Iterator[str]:
    """Yield a table, or `empty` where it has no rows; `numbers` are the columns to the right."""
    written = [f"| {' | '.join(row)} |" for row in rows]
    if not written:
        yield empty
        return
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('--:' if index in numbers else '---' for index in range(len(columns)))}|"
    yield from written


def more(count: int, what: str) -> Iterator[str]:
    """Say how many are not shown."""
    if count > ROWS_MAX:
        yield ""
        yield f"… and {count - ROWS_MAX:,} more {what}."


def scope_text(scope: Scope) -> str:
    """Write what a budget is about."""
    return f"{scope.kind.lower()} {name_cell(scope.id)}" if scope.id else scope.kind.lower()


def money(amount: Decimal) -> str:
    """Write an amount, exact."""
    return plain(amount)


def rough(amount: Decimal) -> Decimal:
    """Round what is reckoned: it is not known any better."""
    return amount.quantize(CENT, ROUND_HALF_EVEN, context=EXACT) if amount >= 1 else _ROUGH.plus(amount)


def percent(share: Decimal) -> str:
    """Write a share."""
    return f"{share.quantize(TENTH, ROUND_HALF_EVEN, context=EXACT):,} %"


def change(now: Decimal | int, before: Decimal | int) -> str:
    """Write by how much something has changed."""
    if not before:
        return NOTHING
    return f"{(HUNDRED * (Decimal(now) - before) / before).quantize(TENTH, context=EXACT):+,} %"


def cost_per_call(totals: Totals) -> str:
    """Write what a call cost in the mean."""
    if totals.calls <= 0:
        return NOTHING
    return money((totals.cost / totals.calls).quantize(NANO, ROUND_HALF_EVEN, context=EXACT))


def success_text(totals: Totals) -> str:
    """Write how many calls went well, of those that were said to go one way or the other."""
    decided = totals.succeeded + totals.failed + totals.cancelled
    return f"{100 * totals.succeeded / decided:.1f} %" if decided > 0 else NOTHING


def sparkline(costs: Sequence[Decimal]) -> str:
    """Draw a bar for each day, the highest for the dearest; a blank for a day without cost."""
    most = max(costs, default=Decimal(0))
    if most <= 0:
        return " " * len(costs) or " "
    top = len(BARS) - 1
    return "".join(BARS[int(top * cost / most)] if cost > 0 else " " for cost in costs)
