"""Does a burn rate predict what would come about, and does every instant lie in the span of its period?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatekeeper.domain.burn_rate import MICROSECOND, Span, forecast, span_of
from gatekeeper.domain.money import EXACT
from gatekeeper.domain.periods import Window, periods_at

# Some change their clocks at midnight, by half an hour, or have left out a day.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
)
START = datetime(2026, 11, 1, tzinfo=UTC)
NANO = Fraction(1, 10**9)

amounts = st.integers(0, 10**19).map(lambda nanos: Decimal(nanos).scaleb(-9, EXACT))
shares = st.integers(-10, 1100).map(lambda permille: Fraction(permille, 1000))
lengths = st.integers(1, 31 * 86_400 * 10**6)
instants = st.datetimes(datetime(2011, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
zones = st.sampled_from(ZONES).map(ZoneInfo)


@settings(deadline=None)
@given(cap=amounts, used=shares, length_us=lengths, gone=shares)
@example(cap=Decimal(1000), used=Fraction(1, 10), length_us=1000, gone=Fraction(1, 20))
def test_forecast(cap: Decimal, used: Fraction, length_us: int, gone: Fraction) -> None:
    """Told is what the rules say, and when: after now, before the end, and exact to the microsecond and the nano."""
    spent = (cap * used.numerator / used.denominator).quantize(Decimal("1e-9"), context=EXACT)
    elapsed_us = int(length_us * gone)
    span = Span(START, START + length_us * MICROSECOND)
    now = START + elapsed_us * MICROSECOND
    found = forecast(spent, cap, span, now)
    # Exact fractions of the very amounts.
    paid, most = Fraction(spent), Fraction(cap)
    is_told = (
        most > 0
        and most / 10 <= paid < most
        and Fraction(length_us, 20) <= elapsed_us < length_us
        and paid * length_us > most * elapsed_us
    )
    assert (found is not None) == is_told
    if found is not None:
        exact_us = elapsed_us * most / paid
        assert 0 <= exact_us - (found.exhausted_at - START) // MICROSECOND < 1
        assert now <= found.exhausted_at <= span.end
        assert abs(paid * length_us / elapsed_us - most - Fraction(found.overshoot)) <= NANO


@settings(deadline=None)
@given(instant=instants, zone=zones, window=st.sampled_from([Window.DAY, Window.MONTH]))
@example(instant=datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), zone=ZoneInfo("UTC"), window=Window.MONTH)
@example(instant=datetime(2011, 12, 30, 10, tzinfo=UTC), zone=ZoneInfo("Pacific/Apia"), window=Window.DAY)
def test_every_instant_is_in_its_span(instant: datetime, zone: ZoneInfo, window: Window) -> None:
    """A period's span holds every instant of it, and ends where the next one begins."""
    span = span_of(window, periods_at(instant, zone).of(window), zone)
    assert span is not None
    assert span.start <= instant < span.end
    before, after = (periods_at(span.end + offset, zone).of(window) for offset in (-MICROSECOND, timedelta()))
    assert before != after
