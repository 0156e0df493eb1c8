"""What is recommended, and what not? Each rule at its thresholds, with the sum that it would save."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from gatekeeper.domain.evidence import (
    CallerHolds,
    CampaignOutlook,
    Evidence,
    HoldAccuracy,
    Recommendation,
    RecommendationRule,
)
from gatekeeper.domain.forecast import Forecast, ForecastMethod
from gatekeeper.domain.recommendations import recommend
from gatekeeper.domain.spend import Totals

DEAR = Totals(calls=100, succeeded=90, failed=10, cost=Decimal(40), input_tokens=100_000, output_tokens=10_000)
CHEAP = Totals(calls=50, succeeded=45, failed=5, cost=Decimal(5), input_tokens=50_000, output_tokens=5_000)


def found(**evidence: Any) -> list[Recommendation]:
    nothing: dict[str, Any] = {"models": {}, "agents": {}, "failed_costs": {}}
    nothing |= {"accuracy": [], "callers": [], "outlooks": []}
    return list(recommend(Evidence(currency="USD", **(nothing | evidence))))


def changed(totals: Totals, **fields: Any) -> Totals:
    return Totals(**{name: getattr(totals, name) for name in Totals.__dataclass_fields__} | fields)


def test_a_cheaper_model_that_does_as_well() -> None:
    """Twice the cheap one's calls cover the dear one's tokens: they cost 10 instead of 40."""
    (made,) = found(models={("writer", "big"): DEAR, ("writer", "small"): CHEAP, ("coder", "tiny"): CHEAP})
    assert (made.rule, made.subject, made.saving) == (RecommendationRule.CHEAPER_MODEL, "writer", 30)
    assert made.message == (
        "Agents of type 'writer' spent 40.00 USD on 'big'; 'small' succeeds no less often (90.0 % instead of 90.0 %),"
        " and would have cost 10.00 USD at most. Try it for them."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"succeeded": 44, "failed": 6},  # less often
        {"succeeded": 44, "failed": 4, "cancelled": 1},  # too few calls to tell
        {"cached_input_tokens": 50_000},  # all of its input came from a cache
        {"output_tokens": 0},  # its calls are others
        {"cost": Decimal("19.5")},  # cheaper by less than five per cent
        {"quality_sum": 40.0, "quality_scores": 1},  # worse
    ],
)
def test_no_model_that_may_do_worse_or_cost_more(change: dict[str, Any]) -> None:
    """What cannot be compared, does worse or saves little is not recommended."""
    dear = changed(DEAR, quality_sum=41.0, quality_scores=1)
    assert not found(models={("writer", "big"): dear, ("writer", "small"): changed(CHEAP, **change)})


def test_another_mix_of_tokens_costs_what_it_may_at_most() -> None:
    """A model with ten times less output for its input is reckoned by its output: twenty times its calls."""
    frugal = changed(CHEAP, output_tokens=500, cost=Decimal(1))
    (made,) = found(models={("writer", "big"): DEAR, ("writer", "small"): frugal})
    assert made.saving == 20


def test_over_reservation() -> None:
    """What is held beyond what 95 of 100 calls cost, from twice that on."""
    held = HoldAccuracy(
        agent_type="writer",
        calls=100,
        reserved=Decimal(200),
        cost=Decimal(50),
        cost_p95=Decimal(1),
        unused_mean=75,
        unused_p50=75,
        unused_p95=80,
    )
    (made,) = found(accuracy=[held])
    assert (made.rule, made.subject, made.saving) == (RecommendationRule.OVER_RESERVATION, "writer", 100)
    assert "hold 2.00 USD a call in the mean, and 95 of 100 cost 1.00 USD at most" in made.message
    for few in ({"reserved": Decimal(199)}, {"calls": 49, "reserved": Decimal(98)}):
        fields = {name: getattr(held, name) for name in HoldAccuracy.__dataclass_fields__}
        assert not found(accuracy=[HoldAccuracy(**(fields | few))])


def test_a_failing_agent_costs_what_its_failures_cost() -> None:
    """From a fifth of its calls on, where there are twenty."""
    failing = Totals(calls=20, succeeded=16, failed=4, cost=Decimal(10))
    key = ("a-1", "writer")
    (made,) = found(agents={key: failing}, failed_costs={key: Decimal(3)})
    assert (made.rule, made.subject, made.saving) == (RecommendationRule.FAILING_AGENT, "a-1", 3)
    assert made.message.startswith("Agent 'a-1' ('writer') failed in 4 of 20 calls, which cost 3.00 USD.")
    for fewer in ({"succeeded": 17, "failed": 3}, {"succeeded": 15}):
        assert not found(agents={key: changed(failing, **fewer)}, failed_costs={key: Decimal(3)})
    assert not found(agents={key: failing})


def test_a_campaign_about_to_exhaust() -> None:
    """By which day, and what would be denied then."""
    forecast = Forecast(
        method=ForecastMethod.RUN_RATE,
        projected=Decimal(150),
        low=Decimal(140),
        high=Decimal(160),
        days_observed=20,
        exhausted_in=4,
    )
    outlook = CampaignOutlook(campaign="spring", cap=Decimal(100), forecast=forecast, first_day=date(2026, 11, 21))
    (made,) = found(outlooks=[outlook])
    assert (made.rule, made.subject, made.saving) == (RecommendationRule.CAMPAIGN_EXHAUSTION, "spring", 50)
    assert "used up its cap of 100.00 USD by 2026-11-25 at this pace: 150.00 USD" in made.message


def test_a_caller_that_leaves_holds_to_expire() -> None:
    """From a twentieth of its holds on, where there are ten such."""
    holds: dict[str, Any] = {"caller": "t-1", "name": "fleet", "amount": Decimal(7), "charged": Decimal(2)}
    (made,) = found(callers=[CallerHolds(holds=200, expired=10, **holds)])
    assert (made.rule, made.subject, made.saving) == (RecommendationRule.EXPIRING_HOLDS, "fleet", 7)
    assert "'fleet' left 10 of 200 holds to expire, over 7.00 USD, of which 2.00 USD were charged." in made.message
    assert not found(callers=[CallerHolds(holds=201, expired=10, **holds)])
    assert not found(callers=[CallerHolds(holds=9, expired=9, **holds)])


def test_the_largest_saving_comes_first_and_names_stay_names() -> None:
    """Whatever a name has in it, it is quoted, and no part of the sentence."""
    failing = Totals(calls=20, succeeded=10, failed=10, cost=Decimal(10))
    names = ["{0}", "it's\n# a heading", ""]
    made = found(
        agents={(name, "{1}"): failing for name in names},
        failed_costs={(name, "{1}"): Decimal(index) for index, name in enumerate(names, 1)},
    )
    assert [each.saving for each in made] == [3, 2, 1]
    assert made[0].message.startswith("Calls without an agent ('{1}') failed")
    assert made[1].message.startswith(r"""Agent "it's\n# a heading" ('{1}') failed""")
    assert made[2].message.startswith("Agent '{0}' ('{1}') failed")


def test_no_more_than_anybody_reads() -> None:
    """Of thousands, those that save the most."""
    failing = Totals(calls=20, succeeded=10, failed=10, cost=Decimal(10))
    keys = [(f"a-{number}", "") for number in range(1000)]
    costs = {key: Decimal(number) for number, key in enumerate(keys)}
    assert [each.saving for each in found(agents=dict.fromkeys(keys, failing), failed_costs=costs)][99:] == [900]
