"""What would save money next month, by what the figures of this one say? Five rules; each names what it goes by.

CHEAPER_MODEL
    Two models do the same agent type's calls, each in enough of them that were said to succeed or fail. The other one
    succeeds no less often, scores no lower where both are scored, and would have cost less. What it would have cost is
    reckoned from its own calls, taken so many times that they cover the tokens of either kind: its input that no cache
    served the input of all calls, its output their output. That is the most it can cost, whatever its prices are.
OVER_RESERVATION
    An agent type's calls hold, in the mean, twice or more what 95 of 100 of them cost at most. That much would do; the
    rest was kept from others.
FAILING_AGENT
    A fifth of an agent's calls or more fail, and what failed has cost something.
CAMPAIGN_EXHAUSTION
    A campaign's cap is used up before its month ends, by the forecast that fits best; what comes after that is denied.
EXPIRING_HOLDS
    A twentieth of a caller's holds or more expire: nobody ended them, and they kept their money from others until then,
    or were charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from .evidence import CallerHolds, CampaignOutlook, Evidence, HoldAccuracy, Recommendation, RecommendationRule
from .money import EXACT, NANO, ZERO, from_nanos, plain
from .spend import Totals

# Of fewer calls nobody knows whether a difference is more than chance.
CALLS_MIN = 50
FAILING_CALLS_MIN = 20
EXPIRED_HOLDS_MIN = 10
# A model that is cheaper by less is not worth the change.
SAVING_PERCENT_MIN = 5
OVER_RESERVATION_MIN = 2
FAILED_PERCENT_MIN = 20
EXPIRED_PERCENT_MIN = 5
RECOMMENDATIONS_MAX = 100

# What is reckoned is not better known than that.
_ROUGH = Context(prec=3)


def recommend(evidence: Evidence) -> Sequence[Recommendation]:
    """Return what would save money, the largest saving first, and no more than anybody reads."""
    found: Sequence[Recommendation] = (
        *_cheaper_models(evidence.models, evidence.currency),
        *_over_reservations(evidence.accuracy, evidence.currency),
        *_failing_agents(evidence, evidence.currency),
        *_exhaustions(evidence.outlooks, evidence.currency),
        *_expiring_holds(evidence.callers, evidence.currency),
    )
    found = sorted(found, key=lambda each: (-each.saving, each.rule, each.subject, each.names))
    return found[:RECOMMENDATIONS_MAX]


def _cheaper_models(models: Mapping[tuple[str, str], Totals], currency: str) -> Iterator[Recommendation]:
    for (agent_type, model), used in models.items():
        others = {other: totals for (of_type, other), totals in models.items() if of_type == agent_type}
        found = [
            (saving, other)
            for other, totals in others.items()
            if other != model and (saving := _saved_by(used, totals)) * 100 >= used.cost * SAVING_PERCENT_MIN
            if saving > ZERO
        ]
        if not found:
            continue
        saving, other = max(found)
        text = (
            f"{_whose(agent_type)} spent {plain(used.cost)} {currency} on {{1}}; {{2}} succeeds no less often"
            f" ({_success(others[other])} instead of {_success(used)}), and would have cost"
            f" {_rough(used.cost - saving)} {currency} at most. Try it for them."
        )
        yield Recommendation(
            rule=RecommendationRule.CHEAPER_MODEL,
            subject=agent_type or model,
            saving=saving,
            text=text,
            names=(agent_type, model, other),
        )


def _saved_by(used: Totals, other: Totals) -> Decimal:
    """Return what another model would have saved at least; zero where it cannot be compared, or does worse."""
    enough = min(_decided(used), _decided(other)) >= CALLS_MIN
    uncached = other.input_tokens - other.cached_input_tokens
    if not enough or not uncached or not other.output_tokens or not used.input_tokens + used.output_tokens:
        return ZERO
    if other.succeeded * _decided(used) < used.succeeded * _decided(other):
        return ZERO
    if used.quality_scores and other.quality_scores:
        scores = (Fraction(totals.quality_sum) / totals.quality_scores for totals in (used, other))
        if next(scores) > next(scores):
            return ZERO
    times = max(Fraction(used.input_tokens, uncached), Fraction(used.output_tokens, other.output_tokens))
    return max(ZERO, used.cost - _times(other.cost, times))


def _times(amount: Decimal, factor: Fraction) -> Decimal:
    nanos = Fraction(amount) * factor * 10**9
    return from_nanos(0, -(-nanos.numerator // nanos.denominator))


def _over_reservations(accuracy: Iterable[HoldAccuracy], currency: str) -> Iterator[Recommendation]:
    for found in accuracy:
        needed = found.cost_p95 * found.calls
        if found.calls < CALLS_MIN or not found.reserved or found.reserved < OVER_RESERVATION_MIN * needed:
            continue
        mean = (found.reserved / found.calls).quantize(NANO, ROUND_FLOOR, context=EXACT)
        text = (
            f"{_whose(found.agent_type)} hold {_rough(mean)} {currency} a call in the mean, and 95 of 100 cost"
            f" {_rough(found.cost_p95)} {currency} at most. Estimate that much: the rest was kept from other calls."
        )
        yield Recommendation(
            rule=RecommendationRule.OVER_RESERVATION,
            subject=found.agent_type,
            saving=found.reserved - needed,
            text=text,
            names=(found.agent_type,),
        )


def _failing_agents(evidence: Evidence, currency: str) -> Iterator[Recommendation]:
    for (agent, agent_type), totals in evidence.agents.items():
        decided, cost = _decided(totals), evidence.failed_costs.get((agent, agent_type), ZERO)
        if decided < FAILING_CALLS_MIN or totals.failed * 100 < FAILED_PERCENT_MIN * decided or cost <= ZERO:
            continue
        whose = "Agent {0}" if agent else "Calls without an agent"
        text = (
            f"{whose}{' ({1})' if agent_type else ''} failed in {totals.failed} of {decided} calls, which cost"
            f" {plain(cost)} {currency}. Find out why, and let it stop when it fails."
        )
        yield Recommendation(
            rule=RecommendationRule.FAILING_AGENT,
            subject=agent or agent_type,
            saving=cost,
            text=text,
            names=(agent, agent_type),
        )


def _exhaustions(outlooks: Iterable[CampaignOutlook], currency: str) -> Iterator[Recommendation]:
    for outlook in outlooks:
        forecast = outlook.forecast
        beyond = forecast.projected - outlook.cap
        if forecast.exhausted_in is None or beyond <= ZERO:
            continue
        day = outlook.first_day + timedelta(days=forecast.exhausted_in)
        text = (
            f"Campaign {{0}} will have used up its cap of {plain(outlook.cap)} {currency} by {day} at this pace:"
            f" {_rough(forecast.projected)} {currency} until the month ends. Slow it down, or raise its cap, before"
            " its calls are denied."
        )
        yield Recommendation(
            rule=RecommendationRule.CAMPAIGN_EXHAUSTION,
            subject=outlook.campaign,
            saving=beyond,
            text=text,
            names=(outlook.campaign,),
        )


def _expiring_holds(callers: Iterable[CallerHolds], currency: str) -> Iterator[Recommendation]:
    for found in callers:
        if found.expired < EXPIRED_HOLDS_MIN or found.expired * 100 < EXPIRED_PERCENT_MIN * found.holds:
            continue
        name = found.name or found.caller
        whose = "Caller {0}" if name else "Callers without a token"
        charged = f", of which {plain(found.charged)} {currency} were charged" if found.charged else ""
        text = (
            f"{whose} left {found.expired} of {found.holds} holds to expire, over {plain(found.amount)} {currency}"
            f"{charged}. Release what is not used, also when a call fails."
        )
        if found.amount > ZERO:
            yield Recommendation(
                rule=RecommendationRule.EXPIRING_HOLDS,
                subject=name,
                saving=found.amount,
                text=text,
                names=(name,),
            )


def _whose(agent_type: str) -> str:
    return "Agents of type {0}" if agent_type else "Agents without a type"


def _decided(totals: Totals) -> int:
    """Return how many calls were said to have gone well or not."""
    return totals.succeeded + totals.failed + totals.cancelled


def _success(totals: Totals) -> str:
    return f"{100 * totals.succeeded / _decided(totals):.1f} %"


def _rough(amount: Decimal) -> str:
    return plain(_ROUGH.plus(amount))
