"""What does a watch show on one screen? The fullest budgets that fit, the overrides, and whether it is up to date."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from .durations import span_text
from .output import shown
from .override_texts import target_text
from .status_table import COLUMNS, NUMBERS, budget_row
from .statuses import amount_text, money_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatekeeper_client import GatekeeperError
    from gatekeeper_client.v1.budget_pb2 import BudgetStatus
    from gatekeeper_client.v1.override_pb2 import Override
    from gatekeeper_client.v1.report_service_pb2 import WatchStatusResponse

# Lines of a table beside its rows: the head, the rule under it, and the box's empty first and last line.
FRAME_LINES: Final = 4
HEAD_LINES: Final = 1
# At most so much of the screen is the overrides'.
OVERRIDES_SHARE: Final = 3
# While they know it, servers say more often than this that nothing has changed.
SILENCE_S: Final = 10
# What narrow screens do without.
WIDTHS_MIN: Final = {"Period": 110, "": 110, "Cap": 76, "Spent": 76, "Held": 76, "State": 76}
OVERRIDE_COLUMNS: Final = ("Override for", "Left", "Of", "Ends in", "Why")
OVERRIDE_NUMBERS: Final = ("Left", "Of", "Ends in")
# What gives way on a narrow screen: a number that is cut off would be another one.
YIELDING: Final = frozenset({"Budget", "State", "Override for", "Why"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known: budgets by scope and window, when that was read and heard of, and why nothing more is heard."""

    budgets: Mapping[tuple[int, str, int], BudgetStatus] = field(default_factory=dict)
    overrides: Sequence[Override] = ()
    read_at: datetime | None = None
    # How far the server's clock is ahead of this machine's: what has time left is told by the server's.
    ahead: timedelta = timedelta()
    lost: str = ""
    # By this machine's monotonic clock.
    heard_s: float = 0.0


class Screen:
    """What a terminal shows. Another thread may render it at any time: what is known is put in place as a whole."""

    def __init__(self, organization: str) -> None:
        """Begin without knowing anything."""
        self._organization = organization
        self._standing = Standing()

    def take(self, message: WatchStatusResponse) -> None:
        """Take what the server says: all, or what has changed."""
        budgets = {} if message.snapshot else dict(self._standing.budgets)
        budgets.update({(budget.scope.kind, budget.scope.id, budget.window): budget for budget in message.budgets})
        read_at = message.read_time.ToDatetime(UTC)
        self._standing = Standing(
            budgets=budgets,
            overrides=tuple(message.overrides),
            read_at=read_at,
            ahead=read_at - datetime.now(UTC),
            heard_s=time.monotonic(),
        )

    def lose(self, error: GatekeeperError) -> None:
        """Take note that the connection is lost, and tried again."""
        self._standing = replace(self._standing, lost=error.message)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render what fits."""
        standing = self._standing
        rows_left = (options.height or console.height) - HEAD_LINES - FRAME_LINES
        overrides = standing.overrides[: _fitting(len(standing.overrides), rows_left // OVERRIDES_SHARE - FRAME_LINES)]
        if overrides:
            rows_left -= len(overrides) + FRAME_LINES
        budgets = fullest(standing.budgets.values())[: max(1, rows_left)]
        yield self._head(len(budgets), len(standing.budgets))
        yield _budget_table(budgets, width=options.max_width)
        if overrides:
            yield _override_table(overrides, datetime.now(UTC) + standing.ahead)

    def _head(self, shown_count: int, count: int) -> Text:
        standing = self._standing
        if standing.read_at is None:
            return _line(f"{self._organization}  connecting…")
        counts = f"{count:,} budgets" if shown_count == count else f"the {shown_count:,} fullest of {count:,} budgets"
        read = f"{standing.read_at:%H:%M:%S} UTC"
        if standing.lost:
            return _line(f"{self._organization}  reconnecting… as of {read}: {shown(standing.lost)}", "bold yellow")
        if time.monotonic() - standing.heard_s > SILENCE_S:
            return _line(f"{self._organization}  as of {read}, not up to date", "bold yellow")
        return Text.assemble(self._organization, "  ", ("live", "green"), f"  {read}, {counts}", no_wrap=True)


def fullest(budgets: Iterable[BudgetStatus]) -> list[BudgetStatus]:
    """Return the organization's budgets, then the others with the fullest first."""
    return sorted(budgets, key=lambda budget: (bool(budget.scope.id), -budget.utilization_percent, budget.scope.id))


def _fitting(wanted: int, room: int) -> int:
    return max(0, min(wanted, room))


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _one_line(cell: Text) -> Text:
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def _budget_table(budgets: Sequence[BudgetStatus], *, width: int) -> Table:
    columns = [(place, name) for place, name in enumerate(COLUMNS) if width >= WIDTHS_MIN.get(name, 0)]
    table = _table([name for _, name in columns], NUMBERS)
    for budget in budgets:
        row = budget_row(budget)
        table.add_row(*(_one_line(row[place]) for place, _ in columns))
    return table


def _override_table(overrides: Sequence[Override], now: datetime) -> Table:
    table = _table(OVERRIDE_COLUMNS, OVERRIDE_NUMBERS)
    for override in overrides:
        table.add_row(
            _one_line(Text(target_text(override))),
            Text(amount_text(override.remaining)),
            Text(money_text(override.max_amount)),
            Text(span_text(override.expire_time.ToDatetime(UTC) - now)),
            _one_line(Text(shown(override.reason))),
        )
    return table


def _table(columns: Sequence[str], right: Sequence[str]) -> Table:
    """Return an empty table whose rows are one line each, however narrow the screen; `_one_line` makes their cells."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(
            _one_line(Text(name)),
            justify="right" if name in right else "left",
            no_wrap=name not in YIELDING,
            overflow="ellipsis",
        )
    return table
