"""When calls start and where they belong."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.replay.rows import Row
from gatekeeper.replay.timeline import Timeline, group_of, session_offset_s

RUNS = st.sampled_from(["", "trace_0001", "trace_0002", "trace_0003"])
ROWS = st.builds(
    Row,
    line=st.integers(2, 10**9),
    run=RUNS,
    agent=st.sampled_from(["main", "agent_001"]),
    agent_type=st.just(""),
    campaign=st.just(""),
    department=st.just(""),
    model=st.sampled_from(["m", "n"]),
    input_tokens=st.integers(0, 10**9),
    cached_input_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    start_s=st.floats(0, 1e9),
    latency_s=st.none() | st.floats(0, 604_800),
    ended=st.booleans(),
)


def row(run: str, line: int = 2, start_s: float = 0.0) -> Row:
    """Make a call of a run."""
    return Row(line, run, "main", "", "", "", "m", 1, 0, 1, start_s)


def test_the_rule_of_campaigns_is_the_stated_one() -> None:
    """SHA-256 of trace_0001 begins with 25aa4209: the remainder by 4 is 1, and it is 14.7 % on the way to ffffffff."""
    assert group_of("campaign", row("trace_0001"), 4) == "campaign-2"
    assert group_of("department", row("trace_0001"), 1) == "department-1"
    assert session_offset_s("trace_0001", 3600) == pytest.approx(529.665, abs=0.001)


def test_all_calls_of_a_run_share_a_campaign() -> None:
    """The line of a call does not matter where its run is known."""
    assert len({group_of("campaign", row("a", line), 7) for line in range(100)}) == 1


def test_calls_without_a_run_are_shared_out_by_their_line() -> None:
    """So a file without sessions fills all campaigns, evenly."""
    counts = Counter(group_of("campaign", row("", line), 4) for line in range(4000))
    assert sorted(counts) == [f"campaign-{number}" for number in range(1, 5)]
    assert min(counts.values()) > 800


def test_no_campaigns_means_none() -> None:
    """Zero groups have no name."""
    assert group_of("campaign", row("a"), 0) == ""


@given(st.text(), st.floats(0, 1e6))
def test_sessions_begin_within_the_spread(run: str, spread_s: float) -> None:
    """Neither before the start nor after the spread."""
    assert 0 <= session_offset_s(run, spread_s) <= spread_s


def test_rows_without_a_run_start_at_their_own_time() -> None:
    """Such a file has a common clock already."""
    assert session_offset_s("", 3600) == 0


@given(st.lists(ROWS), st.floats(0, 1e5))
def test_a_timeline_keeps_every_call_and_puts_them_in_order(rows: list[Row], spread_s: float) -> None:
    """Nothing is lost by keeping calls small; the first one starts at zero."""
    timeline = [*Timeline(rows, spread_s)]
    starts_s = [start_s for start_s, _ in timeline]
    assert starts_s == sorted(starts_s)
    assert Counter(row for _, row in timeline) == Counter(rows)
    assert starts_s[:1] in ([], [0.0])


@given(st.lists(ROWS, min_size=1), st.floats(0, 1e5))
def test_a_call_starts_at_its_time_after_its_session_began(rows: list[Row], spread_s: float) -> None:
    """Counted from the first start of all."""
    first_s = min(session_offset_s(row.run, spread_s) + row.start_s for row in rows)
    for start_s, each in Timeline(rows, spread_s):
        assert start_s == session_offset_s(each.run, spread_s) + each.start_s - first_s


def test_of_calls_that_start_at_once_the_first_in_the_file_goes_first() -> None:
    """A session's own order is kept."""
    lines = [each.line for _, each in Timeline([row("a", line) for line in (2, 3, 4)], 3600)]
    assert lines == [2, 3, 4]
