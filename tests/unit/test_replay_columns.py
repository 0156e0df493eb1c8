"""Which column tells what."""

from __future__ import annotations

import pytest

from gatekeeper.replay.columns import SYNONYMS, find_columns
from gatekeeper.replay.source import LayoutError

NEEDED = ("input_tokens", "output_tokens", "model")


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (
            "trace_id,agent_id,subagent_type,seq,t_s,model,input_tokens,output_tokens,cached_input_tokens_est,api_time_s,stop",
            "run,agent,agent_type,-,t_s,model,input_tokens,output_tokens,cached_input_tokens,latency_s,stop",
        ),
        (
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
            "t_s,model,input_tokens,output_tokens,-,agent_type",
        ),
        (
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
            "t_s,run,latency_s,model,input_tokens,output_tokens,-,agent_type",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens", "t_s,input_tokens,output_tokens"),
        ("timestamp,input_length,output_length", "t_s,input_tokens,output_tokens"),
    ],
)
def test_public_layouts_are_known(header: str, fields: str) -> None:
    """Claude Code calls, BurstGPT (two releases), Azure's LLM inference traces, Mooncake and Bailian."""
    expected = {field: place for place, field in enumerate(fields.split(",")) if field != "-"}
    assert find_columns(header.split(","), {}, ["input_tokens", "output_tokens"]) == expected


def test_a_mapping_wins_over_a_name() -> None:
    """The caller knows better than the header."""
    header = ["input_tokens", "billed", "output_tokens", "model"]
    assert find_columns(header, {"input_tokens": "billed"}, NEEDED)["input_tokens"] == 1


def test_an_empty_mapping_takes_a_column_away() -> None:
    """So a column that means something else is not misread."""
    header = ["input_tokens", "output_tokens", "model", "stop"]
    assert "stop" not in find_columns(header, {"stop": ""}, NEEDED)


def test_a_mapped_column_tells_nothing_else() -> None:
    """Milliseconds under a name that usually means seconds are not read as seconds too."""
    assert find_columns(["timestamp"], {"t_ms": "timestamp"}, ["t_s"]) == {"t_ms": 0}


@pytest.mark.parametrize("field", NEEDED)
def test_a_missing_column_is_named_with_its_remedy(field: str) -> None:
    """Whoever reads the error knows what to type."""
    header = [name for name in NEEDED if name != field]
    with pytest.raises(LayoutError, match=f"--column {field}=NAME") as refused:
        find_columns(header, {}, NEEDED)
    assert all(repr(column) in str(refused.value) for column in header)
    assert ("--model" in str(refused.value)) == (field == "model")


def test_milliseconds_will_do_where_a_start_is_needed() -> None:
    """Either unit tells when a call began."""
    assert find_columns(["start_ms"], {}, ["t_s"]) == {"t_ms": 0}


@pytest.mark.parametrize(
    ("header", "given", "problem"),
    [
        (["a"], {"input_tokens": "b"}, "there is no such column; the file has 'a'"),
        (["a", "a"], {"input_tokens": "a"}, "there are 2 such columns"),
        (["a"], {"tokens": "a"}, "there is no such field"),
        (["input tokens", "Input-Tokens"], {}, "2 columns named 'inputtokens'"),
    ],
)
def test_what_is_ambiguous_or_unknown_is_refused(header: list[str], given: dict[str, str], problem: str) -> None:
    """A guess could spend the wrong money."""
    with pytest.raises(LayoutError, match=problem):
        find_columns(header, given, [])


def test_no_name_stands_for_two_fields() -> None:
    """Otherwise one column would tell two things."""
    names = [name for field, others in SYNONYMS.items() for name in (field, *others)]
    assert len(names) == len(set(names))
