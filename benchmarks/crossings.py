"""How do budgets cross thresholds all the time while calls go on?

Before each measurement some agents' budgets are set so that what they spend meanwhile takes them over one threshold
after the other. A worked example: an agent has used 9.00 and will use 1.00 more, four thresholds are wanted. Its cap
becomes 10.00; it stands at 90 %, and is told of at 92, 95, 98 and 100.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from google.type.money_pb2 import Money

from benchmarks.bench import ORGANIZATION
from benchmarks.calls import AGENTS, GET_STATUS_PATH, HELD, HUGE_CAP, SET_CAP_PATH, agent_cap, agents_status
from benchmarks.unary import call
from gatekeeper_client.v1 import gatekeeper_service_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Server

# Few of those that call, so that the budgets themselves change little of what is measured.
ALERTING: Final = 5
CROSSINGS: Final = 4  # of each
NANOS: Final = 10**9


def prepare(server: Server, calls: float, *, crossing: bool) -> None:
    """Set the agents' budgets for so many calls to come of all agents together: to cross thresholds, or far from it."""
    used = _used(server.port)
    more = round(calls / AGENTS * HELD.nanos)
    for agent in range(ALERTING):
        cap, thresholds = plan(used.get(agent, 0), more, agent / ALERTING)
        money = Money(currency_code=HELD.currency_code, units=cap // NANOS, nanos=cap % NANOS)
        request = agent_cap(ORGANIZATION, agent, money if crossing else HUGE_CAP, thresholds)
        call(server.port, SET_CAP_PATH, request)


def plan(used: int, more: int, shift: float) -> tuple[int, Sequence[int]]:
    """Return a cap in nanos, and the percentages of it that lie between what is used and will be.

    `shift`, from 0 to 1, moves them by a part of their distance: agents do not cross theirs together.
    """
    cap = used + more
    steps = (used + more * (number + 1 - shift) / CROSSINGS for number in range(CROSSINGS))
    percents = [0, *(round(100 * step / cap) for step in steps)]
    return cap, [percent for lower, percent in pairwise(percents) if percent > max(lower, 100 * used / cap)]


def _used(port: int) -> dict[int, int]:
    """Return what the agents have used, in nanos, by their numbers."""
    answer = call(port, GET_STATUS_PATH, agents_status(ORGANIZATION, ALERTING))
    budgets = gatekeeper_service_pb2.GetStatusResponse.FromString(answer).budgets
    named = ((budget.scope.id.rpartition("-")[2], budget) for budget in budgets)
    return {int(number): _nanos(budget.spent) + _nanos(budget.reserved) for number, budget in named if number}


def _nanos(money: Money) -> int:
    return int(money.units) * NANOS + int(money.nanos)
