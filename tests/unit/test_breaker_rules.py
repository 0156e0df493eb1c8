"""When does the breaker stop a run or an agent, and what does it tell?"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gatekeeper.domain.breaker import (
    UNKNOWN,
    BreakerLimits,
    Normal,
    freeze_reason,
    limit_passed,
    runaway_alert,
)
from gatekeeper.domain.budget import Budget, Scope, ScopeKind
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import ExpiryPolicy

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ABSOLUTE = BreakerLimits(per_minute_max=Decimal(5))
TIMES = BreakerLimits(times_normal=Decimal("10.0"))
BOTH = BreakerLimits(per_minute_max=Decimal(100), times_normal=Decimal(10))
NORMAL = Normal(Decimal(6), 12)
MADE = Budget(scope=Scope(ScopeKind.RUN, "night's run"), window=Window.TOTAL, cap=Decimal("7.50"), revision=3)


@pytest.mark.parametrize(
    ("spent", "normal", "limits", "words"),
    [
        ("5", UNKNOWN, ABSOLUTE, ""),
        ("5.000000001", UNKNOWN, ABSOLUTE, "the limit of 5.00 EUR a minute"),
        ("5", NORMAL, TIMES, ""),
        ("5.000000001", NORMAL, TIMES, "10 times its normal of 0.50 EUR a minute"),
        ("9999", Normal(Decimal(6), 4), TIMES, ""),
        ("9999", UNKNOWN, TIMES, ""),
        ("9999", Normal(Decimal(-1), 12), TIMES, ""),
        ("6", NORMAL, BOTH, "10 times its normal of 0.50 EUR a minute"),
        ("100.01", UNKNOWN, BOTH, "the limit of 100.00 EUR a minute"),
        ("9999", NORMAL, BreakerLimits(), ""),
    ],
)
def test_limits(spent: str, normal: Normal, limits: BreakerLimits, words: str) -> None:
    """What is more than a limit passes it, not what is as much; a normal takes five minutes that cost anything."""
    assert limit_passed(Decimal(spent), normal, limits, "EUR") == words


def test_what_is_looked_at() -> None:
    """Only with nothing but an absolute limit is less than that not looked at."""
    assert (ABSOLUTE.least, TIMES.least, BOTH.least) == (5, 0, 0)
    assert (bool(ABSOLUTE), bool(TIMES), bool(BreakerLimits())) == (True, True, False)


def in_euros(name: str) -> Organization:
    return Organization(organization=name, currency="EUR", time_zone="UTC", expiry_policy=ExpiryPolicy.RELEASE)


def test_alert() -> None:
    """An alert tells the figures, the limit and how to let it go on, and is told once for a revision of the budget."""
    reason = freeze_reason(Decimal("7.5"), "the limit of 5.00 EUR a minute", "EUR")
    budget = Budget(
        scope=MADE.scope, window=MADE.window, cap=MADE.cap, frozen=True, reason=reason, revision=MADE.revision
    )
    used_up = budget.fresh("total")._replace(spent=Decimal(7), reserved=Decimal("0.5"))
    alert = runaway_alert(in_euros("acme & co"), budget, used_up, NOW)
    assert alert.message == (
        """The run "night's run" is frozen: 7.50 EUR within a minute, more than the limit of 5.00 EUR a minute."""
        " Of its total budget (total), 7.50 of 7.50 EUR is used. To let it go on:"
        """ gatekeeper cap AMOUNT --organization 'acme & co' --run 'night'"'"'s run' --window total --thaw"""
    )
    assert (alert.subject, alert.key, alert.spent) == ("revision 3", used_up.key, Decimal(7))
    roomy = runaway_alert(in_euros("acme"), budget, used_up._replace(spent=Decimal(0)), NOW)
    assert "gatekeeper cap --organization acme --run" in roomy.message
