"""What do so many tokens cost at these rates?

Rates are USD per million tokens, possibly in tiers, possibly valid from a date or at certain
hours only. Costs are exact; rounding them is the price list's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Self

from .money import ZERO
from .price_documents import Document, check_keys, read_decimal, write_decimal

# No call holds so many tokens, and at the highest rates they cost less than money.AMOUNT_MAX.
TOKENS_MAX = 10**12
# A hundred times the dearest rate that is known: above it, somebody mistook the unit.
RATE_LIMIT = Decimal(100_000)
# Published rates have up to 18, most of it the noise of somebody's floats.
RATE_FRACTION_DIGITS_MAX = 30

# Never the caller's own context, which may round. A rate within the limits times TOKENS_MAX takes 49 digits; were that
# wrong, the trap would say so instead of rounding.
_EXACT = Context(prec=64, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow, Inexact])
_CALLS_PER_MILLION = 1_000_000
_RATE_NAMES = ("input", "cached_input", "cache_write_input", "output", "call")
_TIER_KEYS = frozenset(("above", "rate"))
_TIERED_KEYS = frozenset(("base", "tiers"))
_DATED_KEYS = frozenset((*_RATE_NAMES, "since", "hours"))


def add_product(total: Decimal, rate: Decimal, count: int) -> Decimal:
    """Return `total + rate * count`, exactly."""
    return _EXACT.fma(rate, count, total)


def scale(amount: Decimal, exponent: int) -> Decimal:
    """Return `amount * 10**exponent`, exactly."""
    return _EXACT.scaleb(amount, exponent)


def check_rate(rate: Decimal, limit: Decimal = RATE_LIMIT) -> None:
    """Refuse, with ValueError, a rate that is negative, not finite, not below the limit or too long to be exact."""
    if not rate.is_finite() or rate.is_signed() or rate >= limit or _fraction_digits(rate) > RATE_FRACTION_DIGITS_MAX:
        message = f"not a rate: {rate}"
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """The tokens of one call.

    `input_tokens` counts all input, cached and cache-writing tokens among it. Counts that are
    negative, above TOKENS_MAX, or more cached than there is input, are a ValueError.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0

    def __post_init__(self) -> None:
        """Check the counts against one another."""
        cached, written = self.cached_input_tokens, self.cache_write_input_tokens
        if cached < 0 or written < 0 or cached + written > self.input_tokens:
            message = f"{cached} cached + {written} cache-writing of {self.input_tokens} input"
            raise ValueError(message)
        if self.input_tokens > TOKENS_MAX or not 0 <= self.output_tokens <= TOKENS_MAX:
            message = f"{self.input_tokens} input, {self.output_tokens} output tokens"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The rate of a whole call once its input exceeds `above` tokens."""

    above: int
    rate: Decimal

    def __post_init__(self) -> None:
        """Check the limits of a rate."""
        check_rate(self.rate)
        if type(self.above) is not int or self.above < 0:
            message = f"a tier above {self.above!r} tokens"
            raise ValueError(message)

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"above": 200000, "rate": "6"}`."""
        check_keys(document, _TIER_KEYS)
        return cls(above=document["above"], rate=read_decimal(document["rate"]))

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads."""
        return {"above": self.above, "rate": write_decimal(self.rate)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """USD per million tokens: `base`, until a tier applies. Tiers ascend."""

    base: Decimal
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        """Check the limits of a rate and the order of the tiers."""
        check_rate(self.base)
        if list(self.tiers) != sorted(self.tiers, key=lambda tier: tier.above):
            message = "tiers do not ascend"
            raise ValueError(message)

    def at(self, input_tokens: int) -> Decimal:
        """Give the rate of all tokens of a call with so much input in total."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.above:
                return tier.rate
        return self.base

    @classmethod
    def from_document(cls, document: str | Document) -> Self:
        """Read `"3"` or `{"base": "3", "tiers": [{"above": 200000, "rate": "6"}]}`."""
        if isinstance(document, Mapping):
            check_keys(document, _TIERED_KEYS)
            tiers = tuple(map(Tier.from_document, document["tiers"]))
            return cls(base=read_decimal(document["base"]), tiers=tiers)
        return cls(base=read_decimal(document))

    def to_document(self) -> str | dict[str, Any]:
        """Write what `from_document` reads."""
        base = write_decimal(self.base)
        if not self.tiers:
            return base
        return {"base": base, "tiers": [tier.to_document() for tier in self.tiers]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRates:
    """The rates of one model. `call` is USD per call; a kind without a rate has None.

    Cached or cache-writing tokens without a rate of their own are charged as other input;
    output without a rate costs nothing, as with embeddings, which have none.
    """

    input: Rate
    cached_input: Rate | None = None
    cache_write_input: Rate | None = None
    output: Rate | None = None
    call: Rate | None = None

    def cost(self, tokens: TokenCounts) -> Decimal:
        """Give the exact USD for one call."""
        size = other_input = tokens.input_tokens
        total = ZERO
        if self.cached_input is not None and (count := tokens.cached_input_tokens):
            other_input -= count
            total = add_product(total, self.cached_input.at(size), count)
        if self.cache_write_input is not None and (count := tokens.cache_write_input_tokens):
            other_input -= count
            total = add_product(total, self.cache_write_input.at(size), count)
        total = add_product(total, self.input.at(size), other_input)
        if self.output is not None:
            total = add_product(total, self.output.at(size), tokens.output_tokens)
        if self.call is not None:
            total = add_product(total, self.call.at(size), _CALLS_PER_MILLION)
        return scale(total, -6)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedRates:
    """Rates and when they hold: from a UTC date on, within daily UTC hours, or always.

    `hours` is [start, end) and may span midnight. `rates` is None where a model is not priced
    by the token.
    """

    since: date | None = None
    hours: tuple[time, time] | None = None
    rates: ModelRates | None = None

    def hold_at(self, utc: datetime) -> bool:
        """Say whether these rates hold at a UTC instant."""
        if self.since is not None and utc.date() < self.since:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        now = utc.time()
        if end < start:
            return now >= start or now < end
        return start <= now < end

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"since": "2026-03-13", "hours": ["00:30", "16:30"], "input": "3", …}`."""
        check_keys(document, _DATED_KEYS)
        rates = {name: Rate.from_document(document[name]) for name in _RATE_NAMES if name in document}
        if rates and "input" not in rates:
            message = "rates without one for input"
            raise ValueError(message)
        since, hours = document.get("since"), document.get("hours")
        return cls(
            since=None if since is None else date.fromisoformat(since),
            hours=None if hours is None else _read_hours(*hours),
            rates=ModelRates(**rates) if rates else None,
        )

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads."""
        document: dict[str, Any] = {}
        if self.since is not None:
            document["since"] = self.since.isoformat()
        if self.hours is not None:
            document["hours"] = [bound.isoformat() for bound in self.hours]
        for name in _RATE_NAMES if self.rates is not None else ():
            if (rate := getattr(self.rates, name)) is not None:
                document[name] = rate.to_document()
        return document


def rates_at(dated: tuple[DatedRates, ...], at: datetime) -> ModelRates | None:
    """Give the last rates that hold at `at`, the first where none do.

    An instant without a time zone is UTC. None where the model is not priced by the token.
    """
    if len(dated) > 1:
        utc = at if at.tzinfo is None else at.astimezone(UTC)
        for candidate in reversed(dated):
            if candidate.hold_at(utc):
                return candidate.rates
    return dated[0].rates if dated else None


def _fraction_digits(finite: Decimal) -> int:
    return -int(finite.as_tuple().exponent)


def _read_hours(start: str, end: str) -> tuple[time, time]:
    bounds = time.fromisoformat(start), time.fromisoformat(end)
    if any(bound.tzinfo is not None for bound in bounds):
        message = f"hours are UTC and name no time zone: {start}, {end}"
        raise ValueError(message)
    return bounds
