"""What a record says of a call."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.replay.columns import SYNONYMS
from gatekeeper.replay.rows import Row, RowReader
from gatekeeper.replay.source import Record, Unreadable

FIELDS = tuple(SYNONYMS)
GOOD = {"run": "r", "model": "m", "input_tokens": "100", "output_tokens": "7", "stop": "end_turn"}


EVERY_FIELD = RowReader(columns={field: place for place, field in enumerate(FIELDS)})


def read(cells: Mapping[str, str], reader: RowReader = EVERY_FIELD) -> Row | Unreadable:
    """Read a good record with some other cells."""
    return reader.read(Record(5, [{**GOOD, **cells}.get(field, "") for field in FIELDS]))


def good(reader: RowReader = EVERY_FIELD, **cells: str) -> Row:
    """Read a record that is a call."""
    row = read(cells, reader)
    assert isinstance(row, Row)
    return row


def test_a_row_is_read_in_full() -> None:
    """Every field of a call has its column."""
    row = good(
        agent="a", agent_type="seo", campaign="c", department="d", cached_input_tokens="60", t_s="1.5", latency_s="2.25"
    )
    assert row == Row(5, "r", "a", "seo", "c", "d", "m", 100, 60, 7, 1.5, 2.25, ended=True)


def test_what_is_not_told_has_its_default() -> None:
    """An agent without a name is the main one; nothing is cached; how long it took is not known."""
    row = good()
    assert (row.agent, row.cached_input_tokens, row.start_s, row.latency_s) == ("main", 0, 0.0, None)


def test_a_call_without_a_stop_never_told_its_end() -> None:
    """Unless the file has no such column: then nothing is known against it."""
    assert not good(stop="").ended
    columns = {field: place for place, field in enumerate(FIELDS) if field != "stop"}
    assert good(RowReader(columns=columns), stop="").ended


def test_milliseconds_are_seconds() -> None:
    """1,500 ms are 1.5 s."""
    row = good(t_ms="1500", latency_ms="250")
    assert (row.start_s, row.latency_s) == (1.5, 0.25)


def test_a_date_is_a_start() -> None:
    """In UTC where it names no zone; fractions may have seven digits."""
    first, second = good(t_s="2023-11-16 18:15:46.6805900"), good(t_s="2023-11-16T19:15:47.680590+01:00")
    assert second.start_s - first.start_s == pytest.approx(1)


def test_models_are_renamed_and_stood_in_for() -> None:
    """A file's own names become those that are priced."""
    reader = RowReader(columns=EVERY_FIELD.columns, model="gpt-4o", renamed={"ChatGPT": "gpt-3.5-turbo"})
    assert [good(reader, model=model).model for model in ("ChatGPT", "", "m")] == ["gpt-3.5-turbo", "gpt-4o", "m"]


@pytest.mark.parametrize(
    "text", ["-1", "nan", "NaN", "inf", "1.5", "1e3", "1_000", "٣", "1000000001", "9" * 5000, "0x10", "a"]
)
@pytest.mark.parametrize("field", ["input_tokens", "output_tokens", "cached_input_tokens"])
def test_what_is_no_count_of_tokens_is_unreadable(field: str, text: str) -> None:
    """The reason names field and text."""
    row = read({field: text})
    assert isinstance(row, Unreadable)
    assert row.line == 5
    assert field in row.reason


@pytest.mark.parametrize("field", ["t_s", "t_ms", "latency_s", "latency_ms"])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "-inf", "1e999", "1_0", "soon", "2023-99-99 00:00:00"])
def test_what_is_no_time_is_unreadable(field: str, text: str) -> None:
    """NaN would never come."""
    assert isinstance(read({field: text}), Unreadable)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"input_tokens": ""}, "input_tokens is missing"),
        ({"model": ""}, "model is missing"),
        ({"cached_input_tokens": "101"}, "cached_input_tokens 101 is more than input_tokens 100"),
        ({"run": "r" * 129}, "run has 129 characters"),
        ({"agent": "a\x00b"}, "characters that are not text"),
        ({"model": "m\udcff"}, "characters that are not text"),
        ({"latency_s": "604801"}, "more than 604800 s"),
    ],
)
def test_what_the_server_would_refuse_is_named_with_its_line(cells: dict[str, str], reason: str) -> None:
    """Before it is sent."""
    row = read(cells)
    assert isinstance(row, Unreadable)
    assert reason in row.reason


def test_whole_numbers_may_be_written_with_a_point() -> None:
    """As pandas does where a column has gaps."""
    assert good(input_tokens="100.0").input_tokens == 100


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=20)))
def test_no_text_breaks_the_reader(cells: dict[str, str]) -> None:
    """Any cells make a call that keeps the rules, or a reason."""
    row = read(cells)
    if isinstance(row, Row):
        assert row.model
        assert 0 <= row.cached_input_tokens <= row.input_tokens
    else:
        assert row.reason
