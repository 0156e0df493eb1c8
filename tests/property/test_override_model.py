"""Do overrides, priorities and alerts keep to the plain model of the rules, whatever is done in any order?

Most sequences are tried without a database, since many more can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gatekeeper.domain.organization import Organization
from gatekeeper.domain.reservation import ExpiryPolicy
from tests.conftest import verify

from . import strategies as draw
from .kept_books import KeptBooks
from .stored_books import Services, StoredBooks, set_up_clock
from .trial import ZERO, Trial

Step = tuple[str, dict[str, Any]]


def step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
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
SINGLE = st.one_of(
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


# A call whose cost comes after its hold was given back; and one that holds nothing, which another override may raise.
LATE = st.builds(
    lambda number, cost: [("release", {"number": number}), ("commit", {"number": number, "cost": cost})],
    draw.numbers,
    draw.amounts,
)
RAISED = st.builds(
    lambda reserve, *steps: [(reserve[0], {**reserve[1], "amount": ZERO}), *steps],
    RESERVE,
    step("end", number=st.integers(0, 1)),
    step("grant", reached=st.just(("ORGANIZATION", "")), amount=draw.paid, ttl=draw.lives),
    step("extend", number=st.just(0), more=draw.amounts, ttl=st.none()),
)
POLICIES = st.sampled_from(ExpiryPolicy)
TRIALS = st.lists(st.one_of(*(SINGLE.map(lambda single: [single]),) * 8, LATE, RAISED), min_size=60, max_size=60)


def go(trial: Trial, steps: list[list[Step]]) -> None:
    """Take steps, and look after each."""
    for name, arguments in chain.from_iterable(steps):
        getattr(trial, name)(**arguments)
        trial.check()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(policy=POLICIES, steps=TRIALS)
def test_overrides_agree_with_the_model(policy: ExpiryPolicy, steps: list[list[Step]]) -> None:
    """Any operations at any times end as the plain model says, and never above cap and granted amounts together."""
    organization = Organization(organization="o", currency="USD", time_zone="UTC", expiry_policy=policy)
    go(Trial(KeptBooks(organization=organization), charges_expired=policy is ExpiryPolicy.CHARGE), steps)


@pytest.fixture
def services(database_url: str) -> Iterator[Services]:
    """Return what keeps books in a database whose clock is set."""
    set_up_clock(database_url)
    services = Services(database_url)
    yield services
    services.close()


# What fails here is made short where there is no database: that takes a thousand tries.
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(policy=POLICIES, steps=TRIALS)
def test_overrides_in_the_database_agree_too(services: Services, policy: ExpiryPolicy, steps: list[list[Step]]) -> None:
    """Kept in PostgreSQL, the same operations end the same, and the books of all of them verify."""
    books = StoredBooks(services=services, policy=policy)
    trial = Trial(books, charges_expired=policy is ExpiryPolicy.CHARGE)
    go(trial, steps)
    trial.sweep()
    assert not verify(services.database_url)
