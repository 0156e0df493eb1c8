"""Which day and month does money count for?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .conftest import Clock
from .refusals import refusal
from .wire import ORGANIZATION, Wire, campaign, decimals

DAY, MONTH, TOTAL = (
    budget_pb2.BUDGET_WINDOW_DAY,
    budget_pb2.BUDGET_WINDOW_MONTH,
    budget_pb2.BUDGET_WINDOW_TOTAL,
)
WINDOWS = {"DAY": DAY, "MONTH": MONTH, "TOTAL": TOTAL}


def amounts(wire: Wire, organization: str, period: str = "") -> dict[str, tuple[int, int]]:
    """Return spent and reserved of the organization's own budgets by period."""
    budgets = wire.status(organization, ORGANIZATION, period=period).budgets
    return {budget.period: (budget.spent.units, budget.reserved.units) for budget in budgets}


@pytest.fixture
def windows(clock: Clock, organization: str) -> str:
    """Open an organization with a budget of 100 over each window."""
    clock.wire.open(organization)
    for window in WINDOWS.values():
        clock.wire.cap(organization, "100", window=window)
    return organization


def test_each_window_has_its_period(clock: Clock, windows: str) -> None:
    """A hold counts for its day, its month and for good, and a new day or month begins with nothing."""
    year = clock.year
    clock.set("01-31T23:59:59.999999+00:00")
    held = clock.wire.hold(windows, "7")
    assert (held.day, held.month) == (f"{year}-01-31", f"{year}-01")
    assert amounts(clock.wire, windows) == {f"{year}-01-31": (0, 7), f"{year}-01": (0, 7), "total": (0, 7)}
    clock.set("02-01T00:00:00+00:00")
    assert amounts(clock.wire, windows) == {f"{year}-02-01": (0, 0), f"{year}-02": (0, 0), "total": (0, 7)}
    held = clock.wire.hold(windows, "1")
    assert (held.day, held.month) == (f"{year}-02-01", f"{year}-02")
    clock.set("02-02T00:00:00+00:00")
    clock.swept()
    assert amounts(clock.wire, windows) == {f"{year}-02-02": (0, 0), f"{year}-02": (0, 0), "total": (0, 0)}


def test_a_commit_counts_for_the_day_of_its_hold(clock: Clock, windows: str) -> None:
    """Committed after midnight, a call still costs the day and the month that admitted it."""
    year = clock.year
    clock.set("03-31T23:59:00+00:00")
    held = clock.wire.hold(windows, "7")
    clock.set("04-01T00:01:00+00:00")
    answer = clock.wire.commit(held, "5")
    assert (answer.execution.day, answer.execution.month) == (f"{year}-03-31", f"{year}-03")
    assert {budget.period for budget in answer.budgets} == {f"{year}-03-31", f"{year}-03", "total"}
    assert amounts(clock.wire, windows) == {f"{year}-04-01": (0, 0), f"{year}-04": (0, 0), "total": (5, 0)}
    assert amounts(clock.wire, windows, f"{year}-03-31") == {f"{year}-03-31": (5, 0)}
    assert amounts(clock.wire, windows, f"{year}-03") == {f"{year}-03": (5, 0)}
    assert amounts(clock.wire, windows, "total") == {"total": (5, 0)}
    assert amounts(clock.wire, windows, f"{year}-05") == {}
    assert clock.wire.commit(held, "5") == answer


def test_a_late_commit_and_a_charge_count_for_it_too(clock: Clock, windows: str) -> None:
    """What expires or is committed late after midnight is spent on the day of the hold."""
    year = clock.year
    clock.set("03-31T23:59:00+00:00")
    clock.wire.sql("UPDATE organizations SET expiry_policy = 'CHARGE' WHERE organization = %s", windows)
    late, vanished = (clock.wire.hold(windows, "7", ttl=Duration(seconds=120)) for _ in range(2))
    clock.set("04-02T00:00:00+00:00")
    clock.swept()
    assert clock.wire.commit(late, "9").late
    assert amounts(clock.wire, windows, f"{year}-03-31") == {f"{year}-03-31": (16, 0)}
    assert amounts(clock.wire, windows) == {f"{year}-04-02": (0, 0), f"{year}-04": (0, 0), "total": (16, 0)}
    (entry,) = (e for e in clock.wire.executions(windows) if e.reservation_id == vanished.reservation_id)
    assert (entry.day, entry.commit_time.ToDatetime().day) == (f"{year}-03-31", 2)


def test_the_same_reserve_after_midnight_is_of_its_day(clock: Clock, windows: str) -> None:
    """A retry on the next day is the same answer, with the budgets of the first day."""
    clock.set("05-05T23:59:59+00:00")
    held = clock.wire.hold(windows, "7", reservation_id="same")
    clock.set("05-06T00:00:01+00:00")
    answer = clock.wire.reserve(windows, "7", reservation_id="same")
    assert answer.reservation == held
    assert {budget.period for budget in answer.budgets} == {held.day, held.month, "total"}
    assert amounts(clock.wire, windows)[f"{clock.year}-05-06"] == (0, 0)


def test_a_hold_is_raised_only_while_its_periods_last(clock: Clock, windows: str) -> None:
    """What is left of yesterday is not money of today: after midnight a hold is prolonged, not raised."""
    clock.set("05-05T23:59:00+00:00")
    held = clock.wire.hold(windows, "7")
    clock.wire.hold(windows, "90")
    denial = clock.wire.extend(held, "11").denial
    assert (denial.reason, from_money(denial.shortfall)) == (pb.DENIAL_REASON_HEADROOM_HELD, 1)
    clock.wire.extend(held, "10")
    clock.set("05-06T00:01:00+00:00")
    assert refusal(clock.wire.extend, held, "10.01").reason == "PERIOD_OVER"
    assert (
        clock.wire.extend(held, ttl=Duration(seconds=3600)).reservation.expire_time.seconds > held.expire_time.seconds
    )
    assert amounts(clock.wire, windows, held.day) == {held.day: (0, 100)}
    assert amounts(clock.wire, windows)[f"{clock.year}-05-06"] == (0, 0)


def test_yesterday_blocks_nobody_today(clock: Clock, windows: str) -> None:
    """A day budget that was used up is whole again at midnight; a month's or a total's is not."""
    clock.wire.cap(windows, "10", window=DAY)
    clock.wire.cap(windows, "15", window=TOTAL)
    clock.set("06-05T23:59:00+00:00")
    clock.wire.commit(clock.wire.hold(windows, "10"), "10")
    assert clock.wire.deny(windows, "1").budget.window == DAY
    assert not clock.wire.status(windows).can_execute
    clock.set("06-06T00:00:00+00:00")
    assert clock.wire.status(windows).can_execute
    assert clock.wire.status(windows, period=f"{clock.year}-06-05").can_execute
    clock.wire.hold(windows, "5")
    assert clock.wire.deny(windows, "1").budget.window == TOTAL


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("UTC", "06-30T23:59:59+00:00", "06-30"),
        ("Asia/Tokyo", "06-30T14:59:59+00:00", "06-30"),
        ("Asia/Tokyo", "06-30T15:00:00+00:00", "07-01"),
        ("America/New_York", "07-01T03:59:59+00:00", "06-30"),
        ("America/New_York", "07-01T04:00:00+00:00", "07-01"),
        ("America/New_York", "12-01T04:59:59+00:00", "11-30"),
        ("Asia/Kathmandu", "06-30T18:15:00+00:00", "07-01"),
        ("Pacific/Kiritimati", "06-30T10:00:00+00:00", "07-01"),
        ("Etc/GMT+12", "07-01T11:59:59+00:00", "06-30"),
    ],
)
def test_the_calendar_is_that_of_the_organization(
    clock: Clock, organization: str, zone: str, instant: str, day: str
) -> None:
    """A day begins at midnight of the organization's time zone, summer and winter."""
    clock.set("05-01T12:00:00+00:00")
    clock.wire.open(organization, time_zone=zone)
    clock.wire.cap(organization, "100", window=DAY)
    clock.set(instant)
    held = clock.wire.hold(organization, "7")
    assert (held.day, held.month) == (f"{clock.year}-{day}", f"{clock.year}-{day[:2]}")
    assert amounts(clock.wire, organization) == {held.day: (0, 7), held.month: (0, 7)}


def test_two_organizations_have_two_calendars(clock: Clock, organization: str) -> None:
    """At one instant it may be this month here and the next one there."""
    clock.set("08-31T12:00:00+00:00")
    for zone in ("Asia/Tokyo", "America/New_York"):
        clock.wire.open(f"{zone}-{organization}"[:128], time_zone=zone)
    clock.set("08-31T20:00:00+00:00")
    east = clock.wire.hold(f"Asia/Tokyo-{organization}"[:128])
    west = clock.wire.hold(f"America/New_York-{organization}"[:128])
    assert (east.day, west.day) == (f"{clock.year}-09-01", f"{clock.year}-08-31")


def test_a_cap_holds_from_its_period_on(clock: Clock, organization: str) -> None:
    """A changed cap counts for this period and those to come; the one before keeps the cap that it had."""
    year, wire = clock.year, clock.wire
    wire.open(organization)
    wire.hold(organization, "50")
    clock.set("02-10T00:00:00+00:00")
    wire.cap(organization, "20")
    clock.set("03-10T00:00:00+00:00")
    caps = [wire.budget(organization, period=f"{year}-{month}").cap.units for month in ("01", "02", "03")]
    assert caps == [100, 20, 20]
    assert decimals(wire.budget(organization))[2] == 20


def test_a_cap_does_not_reach_back(clock: Clock, organization: str) -> None:
    """A budget that is set today says nothing of yesterday, and does not count what yesterday's holds cost."""
    wire = clock.wire
    wire.open(organization)
    clock.set("02-10T23:59:00+00:00")
    held = wire.hold(organization, "7", campaign="c")
    clock.set("02-11T00:01:00+00:00")
    wire.cap(organization, "100", campaign("c"), window=DAY)
    wire.commit(held, "7")
    assert decimals(wire.budget(organization, campaign("c"))) == (0, 0, 100)
    assert wire.status(organization, campaign("c"), period=f"{clock.year}-02-10").budgets == []


def test_times_are_those_of_the_database(clock: Clock, organization: str) -> None:
    """Every instant of an answer is of the one clock there is."""
    wire = clock.wire
    now = clock.set("09-09T09:09:09.123456+00:00")
    held = wire.hold(organization, "1")
    assert held.create_time.ToMicroseconds() == int(now.timestamp()) * 1_000_000 + 123_456
    clock.advance(timedelta(seconds=1))
    answer = wire.commit(held, "1")
    assert answer.execution.commit_time.ToMicroseconds() - held.create_time.ToMicroseconds() == 1_000_000
    assert wire.cap(organization, "9").update_time == answer.execution.commit_time
