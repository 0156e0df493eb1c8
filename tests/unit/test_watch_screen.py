"""Does a watch show what matters on one screen, however small?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from gatekeeper.cli import watch_screen
from gatekeeper.cli.watch_screen import Screen
from gatekeeper_client import Scope, Unavailable, to_money
from gatekeeper_client.v1.budget_pb2 import (
    BUDGET_TIER_CRITICAL,
    BUDGET_TIER_OK,
    BUDGET_WINDOW_MONTH,
    ENFORCEMENT_ENFORCE,
    SCOPE_KIND_CAMPAIGN,
    SCOPE_KIND_ORGANIZATION,
    BudgetStatus,
)
from gatekeeper_client.v1.override_pb2 import Override
from gatekeeper_client.v1.report_service_pb2 import WatchStatusResponse

ORGANIZATION = Scope(kind=SCOPE_KIND_ORGANIZATION)


def campaign(name: str) -> Scope:
    return Scope(kind=SCOPE_KIND_CAMPAIGN, id=name)


def budget(scope: Scope, percent: float, period: str = "2026-11") -> BudgetStatus:
    return BudgetStatus(
        scope=scope,
        window=BUDGET_WINDOW_MONTH,
        period=period,
        cap=to_money(100, "USD"),
        spent=to_money(str(percent), "USD"),
        available=to_money(f"{100 - percent:.2f}", "USD"),
        utilization_percent=percent,
        tier=BUDGET_TIER_OK if percent < 80 else BUDGET_TIER_CRITICAL,
        enforcement=ENFORCEMENT_ENFORCE,
    )


def override(name: str) -> Override:
    made = Override(scope=campaign(name), remaining=to_money(3), max_amount=to_money(5, "USD"), reason="the launch")
    made.expire_time.FromDatetime(datetime.now(UTC) + timedelta(hours=2, seconds=30))
    return made


def message(*budgets: BudgetStatus, overrides: int = 0, snapshot: bool = True) -> WatchStatusResponse:
    said = WatchStatusResponse(
        snapshot=snapshot, budgets=budgets, overrides=[override(f"launch-{number}") for number in range(overrides)]
    )
    said.read_time.FromDatetime(datetime.now(UTC))
    return said


def lines(screen: Screen, width: int = 140, height: int = 24, *, colours: bool = False) -> list[str]:
    """Return what is on a terminal of this size."""
    written = StringIO()
    console = Console(
        file=written, width=width, height=height, force_terminal=colours, color_system="standard" if colours else None
    )
    console.print(screen, end="")
    return written.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [40, 80, 140, 300])
@pytest.mark.parametrize("height", [8, 24, 60])
@pytest.mark.parametrize("overrides", [0, 2, 100])
def test_it_fits(width: int, height: int, overrides: int) -> None:
    """A thousand budgets and a hundred overrides are never more than one screen, and no line is wider."""
    screen = Screen("acme")
    budgets = [budget(campaign(f"a-campaign-with-a-long-name-{number}"), number / 10) for number in range(999)]
    screen.take(message(budget(ORGANIZATION, 1), *budgets, overrides=overrides))
    shown = lines(screen, width, height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert any("organization" in line or "organ" in line for line in shown[1:])


def test_the_fullest_are_shown() -> None:
    """The organization first, whatever it uses, then the others by how full they are."""
    screen = Screen("acme")
    budgets = [budget(campaign(f"c{number:02}"), number) for number in range(90)]
    screen.take(message(*budgets, budget(ORGANIZATION, 1)))
    shown = lines(screen, height=10)
    assert "the 5 fullest of 91 budgets" in shown[0]
    names = [line.split(",")[0].strip() for line in shown if "2026-11" in line]
    assert names == ["organization", "campaign c89", "campaign c88", "campaign c87", "campaign c86"]


def test_changes_are_laid_over_what_is_known() -> None:
    """A change keeps the others, a new period takes the place of the old, and a snapshot of all."""
    screen = Screen("acme")
    screen.take(message(budget(ORGANIZATION, 1), budget(campaign("spring"), 5)))
    screen.take(message(budget(campaign("spring"), 85, "2026-12"), snapshot=False))
    text = "\n".join(lines(screen))
    assert ("organization" in text, "85.0 %" in text, text.count("spring")) == (True, True, 1)
    screen.take(message(budget(ORGANIZATION, 2)))
    assert "spring" not in "\n".join(lines(screen))


def test_tiers_have_colours() -> None:
    """Green as long as all is well, red where it is critical."""
    screen = Screen("acme")
    screen.take(message(budget(ORGANIZATION, 1), budget(campaign("spring"), 96)))
    calm, critical = (line for line in lines(screen, colours=True) if "2026-11" in line)
    assert ("\x1b[32m" in calm, "\x1b[31m" in calm) == (True, False)
    assert ("\x1b[32m" in critical, "\x1b[31m" in critical) == (False, True)


def test_overrides_tell_what_is_left() -> None:
    """Of their money and of their time."""
    screen = Screen("acme")
    screen.take(message(budget(ORGANIZATION, 1), overrides=1))
    (told,) = [line for line in lines(screen) if "launch-0" in line]
    assert told.split() == ["campaign", "launch-0", "3.00", "5.00", "USD", "2h", "the", "launch"]


def test_it_says_whether_it_is_up_to_date() -> None:
    """Not connected yet, live, or reconnecting; what was known stays on the screen meanwhile."""
    screen = Screen("acme")
    assert lines(screen)[0] == "acme  connecting…"
    screen.take(message(budget(ORGANIZATION, 1)))
    assert "live" in lines(screen)[0]
    screen.lose(Unavailable("no server answers\x1b[2J"))
    shown = lines(screen)
    assert "reconnecting…" in shown[0]
    assert "\x1b" not in shown[0]
    assert "organization" in "\n".join(shown)
    screen.take(message(budget(ORGANIZATION, 1)))
    assert "live" in lines(screen)[0]


def test_silence_is_not_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is heard any more, not even that nothing has changed, it says since when; then it is live again."""
    screen = Screen("acme")
    screen.take(message(budget(ORGANIZATION, 1)))
    monkeypatch.setattr(watch_screen, "SILENCE_S", -1)
    (head, *rest) = lines(screen)
    assert re.fullmatch(r"acme  as of \d\d:\d\d:\d\d UTC, not up to date", head.rstrip())
    assert "organization" in "\n".join(rest)
    monkeypatch.undo()
    screen.take(message(snapshot=False))
    shown = lines(screen)
    assert "live" in shown[0]
    assert "organization" in "\n".join(shown)
