"""What lines are in the file? CSV or JSON Lines, plain or gzip, one record at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_ERRORS: Final = (EOFError, gzip.BadGzipFile, zlib.error)
JSON_FIRST: Final = "{"
# A record of a call is some hundred characters; a line without an end must not fill the memory.
LINE_LENGTH_MAX: Final = 1 << 20


class LayoutError(ValueError):
    """The file, or what was said about its columns, leaves open where to find something."""


class Record(NamedTuple):
    """The cells of one line, in the order of the header."""

    line: int
    cells: Sequence[str]


class Unreadable(NamedTuple):
    """A line that is not a call, and why. `final`: the file cannot be read any further."""

    line: int
    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An open file: the names of its columns, and its records from the top."""

    header: Sequence[str]
    records: Iterator[Record | Unreadable]
    _file: BinaryIO
    _size_bytes: int

    def fraction(self) -> float:
        """Return how much of the file has been read, 0 to 1."""
        return min(1.0, self._file.tell() / self._size_bytes) if self._size_bytes else 1.0


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file of calls; what it is shows from its first bytes, not from its name.

    Raises `LayoutError` for a file without a header, `OSError` for one that cannot be opened.
    """
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        plain: Any = gzip.GzipFile(fileobj=file) if packed else file
        # What is not UTF-8 survives as surrogates, and is found out cell by cell.
        text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            header, records = _read(text)
        except GZIP_ERRORS as error:
            message = f"{path} cannot be unpacked: {error}"
            raise LayoutError(message) from None
        if not header:
            message = f"{path} is empty: it needs a line with the names of its columns"
            raise LayoutError(message)
        yield Source(header=header, records=records, _file=file, _size_bytes=path.stat().st_size)


def _read(text: io.TextIOWrapper) -> tuple[Sequence[str], Iterator[Record | Unreadable]]:
    lines = _lines(text)
    first = next(lines, "")
    lines = chain([first], lines)
    return _read_json(lines) if first.lstrip().startswith(JSON_FIRST) else _read_csv(lines)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Return the lines, of one that is too long only its beginning."""
    while line := text.readline(LINE_LENGTH_MAX):
        rest = line
        while len(rest) == LINE_LENGTH_MAX and not rest.endswith("\n"):
            rest = text.readline(LINE_LENGTH_MAX)
        yield line


def _read_csv(lines: Iterable[str]) -> tuple[Sequence[str], Iterator[Record | Unreadable]]:
    reader = csv.reader(lines)
    try:
        header = next(reader, [])
    except csv.Error as error:
        message = f"the first line is not CSV: {error}"
        raise LayoutError(message) from None
    return header, _csv_records(reader, len(header))


def _csv_records(reader: Any, width: int) -> Iterator[Record | Unreadable]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Unreadable(line, f"not CSV: {error}")
            continue
        except GZIP_ERRORS as error:
            yield _cut(line, error)
            return
        if not cells:
            continue
        if len(cells) == width:
            yield Record(line, cells)
        else:
            yield Unreadable(line, f"has {len(cells)} cells where the header has {width}")


def _read_json(lines: Iterable[str]) -> tuple[Sequence[str], Iterator[Record | Unreadable]]:
    """Take the names of the columns from the first object."""
    numbered = enumerate(lines, start=1)
    line, first = next(numbered)
    try:
        header = [name for name, _ in _flat(_object(first))]
    except ValueError as error:
        message = f"the first line is not a JSON object: {error}"
        raise LayoutError(message) from None
    return header, _json_records(chain([(line, first)], numbered), header)


def _json_records(numbered: Iterator[tuple[int, str]], header: Sequence[str]) -> Iterator[Record | Unreadable]:
    line = 0
    while True:
        try:
            line, text = next(numbered)
            if text.strip():
                cells = dict(_flat(_object(text)))
                yield Record(line, [cells.get(name, "") for name in header])
        except StopIteration:
            return
        except GZIP_ERRORS as error:
            yield _cut(line + 1, error)
            return
        except (ValueError, RecursionError) as error:
            yield Unreadable(line, f"not a JSON object: {error}")


def _object(text: str) -> Mapping[str, Any]:
    """Parse an object, its numbers as they are written."""
    value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    if isinstance(value, dict):
        return value
    message = f"it is a {type(value).__name__}"
    raise ValueError(message)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name members of members by their path, as in `usage.prompt_tokens`; lists are passed over."""
    for name, member in value.items():
        if isinstance(member, dict):
            yield from _flat(member, f"{prefix}{name}.")
        elif not isinstance(member, list):
            yield f"{prefix}{name}", "" if member is None else str(member)


def _cut(line: int, error: Exception) -> Unreadable:
    return Unreadable(line, f"the file is damaged from here on ({error}); what comes before it was read", final=True)
