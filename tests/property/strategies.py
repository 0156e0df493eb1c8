"""What is drawn for the models: few names, few amounts, so that calls meet in the same budgets at their edges."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal

from hypothesis import strategies as st

from gatekeeper.domain.reservation import Attribution

UNKNOWN = -1
STEPS: list[dict[str, int]] = [
    *({"seconds": 1},) * 3,
    *({"minutes": 11},) * 2,
    {"hours": 3},
    {"days": 1},
    {"days": 31},
]

numbers = st.integers(0, 7)
amounts = st.sampled_from([Decimal(text) for text in ("0", "0.000000001", "0.5", "1", "1.25", "2", "3.000000001")])
caps = st.sampled_from(
    [Decimal(text) for text in ("0", "0.000000001", "1", "2.000000003", "4.000000001", "8.000000001", "16")]
)
ttls = st.sampled_from([timedelta(seconds=1), timedelta(minutes=10), timedelta(hours=24)])
steps = st.sampled_from([timedelta(**step) for step in STEPS])
windows = st.sampled_from(["DAY", "MONTH", "TOTAL"])
enforcements = st.sampled_from(["ENFORCE", "ENFORCE", "WARN", "SHADOW"])
rarely = st.sampled_from([*(False,) * 7, True])
scopes = st.sampled_from(
    [("ORGANIZATION", ""), ("DEPARTMENT", "d"), ("CAMPAIGN", "c"), ("CAMPAIGN", "k"), ("AGENT", "a"), ("RUN", "r")]
)
attributions = st.builds(
    Attribution,
    department=st.sampled_from(["", "d"]),
    campaign=st.sampled_from(["", "c", "k"]),
    agent=st.sampled_from(["", "a"]),
    run=st.sampled_from(["", "r"]),
    agent_type=st.just("content"),
    task=st.just(""),
)

priorities = st.sampled_from(["NORMAL", "CRITICAL", "BATCH"])
floors = st.sampled_from(
    [
        *({},) * 2,
        {"NORMAL": 97, "BATCH": 90},
        {"NORMAL": 80},
        {"BATCH": 50},
        {"BATCH": 98},
        {"NORMAL": 100, "BATCH": 100},
        {"NORMAL": 50, "BATCH": 1},
        {"NORMAL": 50, "BATCH": 60},
    ]
)
# Which override a call names: mostly none, else one by its place, or one that does not exist.
named = st.sampled_from([None] * 9 + [0, 1, 2, UNKNOWN])
# What an override is for: most often everything, else a scope, or a reservation by its place behind the last one.
targets = st.just(("ORGANIZATION", "")) | scopes | st.integers(0, 1)
paid = st.sampled_from([Decimal(text) for text in ("0.000000001", "1", "2.5", "5", "5", "20")])
lives = st.sampled_from([timedelta(**step) for step in STEPS[2:]])
thresholds = st.sampled_from([(), (), (80, 95, 100), (50,), (1, 50, 100, 1000), (90, 110)])


def pick(known: Collection[str], number: int) -> str:
    """Return one of those that are there, counted from the newest; `UNKNOWN`, or none there, is one that is not."""
    return "unknown" if not known or number == UNKNOWN else [*known][-1 - number % len(known)]
