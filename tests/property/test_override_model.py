"""Do overrides, priorities and alerts keep to the plain model of the rules, whatever is done in any order?

Without a database, so that many more sequences are tried than through one.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.domain.reservation import ExpiryPolicy

from . import strategies as draw
from .trial import Trial


def step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Return a step of a trial: the operation's name, and what it is called with."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


RESERVE = step(
    "reserve",
    attribution=draw.attributions,
    amount=draw.amounts,
    ttl=draw.ttls,
    priority=draw.priorities,
    number=draw.named,
)
STEPS = st.one_of(
    step("wait"),
    *(RESERVE,) * 2,
    step("reserve_again", number=draw.numbers, other=draw.rarely),
    step("commit", number=draw.numbers, cost=draw.amounts),
    step("release", number=draw.numbers),
    step("extend", number=draw.numbers, more=st.none() | draw.amounts, ttl=st.none() | draw.ttls),
    step("settle_together", orders=st.lists(st.tuples(draw.amounts, st.none() | draw.amounts), min_size=2, max_size=6)),
    step(
        "set_cap",
        scope=draw.scopes,
        window=draw.windows,
        cap=draw.caps,
        enforcement=draw.enforcements,
        frozen=draw.rarely,
        floors=draw.floors,
        thresholds=draw.thresholds,
    ),
    step("grant", reached=draw.targets, amount=draw.paid, ttl=draw.lives),
    step("end", number=draw.numbers),
    step("advance", step=draw.steps),
    step("sweep"),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(policy=st.sampled_from(ExpiryPolicy), steps=st.lists(STEPS, min_size=60, max_size=60))
def test_overrides_agree_with_the_model(policy: ExpiryPolicy, steps: list[tuple[str, dict[str, Any]]]) -> None:
    """Any operations at any times end as the plain model says, and never above cap and granted amounts together."""
    trial = Trial(policy)
    for name, arguments in steps:
        getattr(trial, name)(**arguments)
        trial.check()
