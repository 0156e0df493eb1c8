"""What lines a file of calls has, whatever its form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.replay.source import LINE_LENGTH_MAX, LayoutError, Record, Unreadable, open_source

CSV = "run,model,input_tokens\na,m,1\nb,m,2\n"


def read(path: Path) -> tuple[list[str], list[Record | Unreadable]]:
    """Read a file whole."""
    with open_source(path) as source:
        return [*source.header], [*source.records]


def write(tmp_path: Path, content: str | bytes) -> Path:
    """Write a file of calls."""
    path = tmp_path / "calls"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_is_read_with_its_line_numbers(tmp_path: Path) -> None:
    """The header is line 1, so the first call is on line 2."""
    header, records = read(write(tmp_path, CSV))
    assert header == ["run", "model", "input_tokens"]
    assert records == [Record(2, ["a", "m", "1"]), Record(3, ["b", "m", "2"])]


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """A packed file gives the same records, whatever its name."""
    assert read(write(tmp_path, gzip.compress(CSV.encode()))) == read(write(tmp_path, CSV))


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """Spreadsheets put one in front."""
    header, _ = read(write(tmp_path, b"\xef\xbb\xbf" + CSV.encode()))
    assert header[0] == "run"


def test_a_record_of_several_lines_has_the_number_of_its_first(tmp_path: Path) -> None:
    """Editors jump to where a record begins."""
    _, records = read(write(tmp_path, 'run,model\n"two\nlines",m\nb,m\n'))
    assert [record.line for record in records] == [2, 4]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    """They are no calls."""
    _, records = read(write(tmp_path, "run\n\na\n\n"))
    assert records == [Record(3, ["a"])]


@pytest.mark.parametrize("row", ["a,m", "a,m,1,2"])
def test_a_row_of_another_width_is_unreadable(tmp_path: Path, row: str) -> None:
    """Its cells may be under the wrong names."""
    _, [record] = read(write(tmp_path, f"run,model,input_tokens\n{row}\n"))
    assert isinstance(record, Unreadable)
    assert record.line == 2
    assert "the header has 3" in record.reason


def test_a_line_without_an_end_is_reported_and_the_next_one_read(tmp_path: Path) -> None:
    """A line beyond the limit costs no more memory than the limit."""
    _, [long, record] = read(write(tmp_path, f"run\n{'x' * (3 * LINE_LENGTH_MAX)}\nb\n"))
    assert isinstance(long, Unreadable)
    assert record == Record(3, ["b"])


def test_a_cut_gzip_file_gives_what_comes_before_the_cut(tmp_path: Path) -> None:
    """Then it says so, once and for all."""
    whole = gzip.compress("".join(["run\n", *(f"{number:x}{number * 7919:x}\n" for number in range(10_000))]).encode())
    _, records = read(write(tmp_path, whole[: len(whole) // 2]))
    *before, last = records
    assert len(before) > 1000
    assert all(isinstance(record, Record) for record in before)
    assert isinstance(last, Unreadable)
    assert last.final
    assert last.line == len(records) + 1


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00 no gzip", b"{no json}\n", b"{}x\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    """Nothing could be found in it."""
    with pytest.raises(LayoutError):
        read(write(tmp_path, content))


def test_json_lines_are_read_by_the_names_of_the_first_object(tmp_path: Path) -> None:
    """Members of members go by their path; what an object lacks is empty; numbers stay as they are written."""
    lines = [
        '{"run": "a", "usage": {"prompt_tokens": 10}, "t_s": 1.50, "stop": null, "hashes": [1, 2]}',
        "",
        '{"run": "b", "other": true}',
    ]
    header, records = read(write(tmp_path, "\n".join(lines)))
    assert header == ["run", "usage.prompt_tokens", "t_s", "stop"]
    assert records == [Record(1, ["a", "10", "1.50", ""]), Record(3, ["b", "", "", ""])]


@pytest.mark.parametrize("line", ["[1]", "7", '{"run": ', "{" * 10_000, '{"a":' * 10_000])
def test_a_line_that_is_no_object_is_unreadable(tmp_path: Path, line: str) -> None:
    """The lines around it are read."""
    _, records = read(write(tmp_path, f'{{"run": "a"}}\n{line}\n{{"run": "b"}}\n'))
    assert [type(record) for record in records] == [Record, Unreadable, Record]
    assert records[1].line == 2


@settings(deadline=None, max_examples=50)  # each one writes a file
@given(st.lists(st.dictionaries(st.sampled_from(["run", "model", "stop"]), st.text(max_size=8)), max_size=5))
def test_any_objects_survive_the_way_through_json_lines(
    tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, str]]
) -> None:
    """What is written is read."""
    path = tmp_path_factory.mktemp("calls") / "calls.jsonl"
    first = {"run": "", "model": "", "stop": ""}
    path.write_text("".join(f"{json.dumps(call)}\n" for call in [first, *calls]))
    header, records = read(path)
    assert [dict(zip(header, record.cells, strict=True)) for record in records if isinstance(record, Record)] == [
        first,
        *({**first, **call} for call in calls),
    ]


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever comes after a header is either a record or named as unreadable."""
    path = tmp_path_factory.mktemp("calls") / "calls.csv"
    path.write_bytes(b"run,model\n" + content)
    _, records = read(path)
    lines = [record.line for record in records]
    assert lines == sorted(set(lines))
