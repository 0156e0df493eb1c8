"""What is in a line about a call, and who waits for it to be written?"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from gatekeeper.rpc import line_writer
from gatekeeper.rpc.call_log import CallLog, Entry, dropped_line
from gatekeeper.rpc.line_writer import LineWriter

TRACE = "0af7651916cd43dd8448eb211c80319c"
HELD = Entry("Reserve", "OK", 0.0123456, "acme", "r-1", "ADMITTED", "billing", TRACE, is_fine=True)
HOSTILE = 'a"b\\c\nd\x1b[31m\u2028é{}'


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Yield both ends of a pipe."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            os.close(end)


@contextmanager
def logging_to(descriptor: int, *, for_people: bool = False) -> Iterator[CallLog]:
    """Yield a log whose lines are written to a descriptor."""
    lines = LineWriter(descriptor, dropped_line(for_people=for_people))
    with lines.writing():
        yield CallLog(lines, only_failed=False, for_people=for_people)


def written(*entries: Entry, for_people: bool = False) -> str:
    """Return what a log writes of calls."""
    with pipe() as (reading, writing):
        with logging_to(writing, for_people=for_people) as log:
            for entry in entries:
                log.add(entry)
        return os.read(reading, 1_000_000).decode()


def line(entry: Entry) -> dict[str, Any]:
    """Return a call's line."""
    return dict(json.loads(written(entry)))


def test_a_call_with_a_verdict() -> None:
    """Its line says what was called, for whom, by whom, which verdict there is, and how long it took."""
    found = line(HELD)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found.pop("timestamp"))).total_seconds()) < 60
    assert found == {
        "event": "call",
        "level": "info",
        "rpc": "Reserve",
        "organization": "acme",
        "reservation_id": "r-1",
        "code": "OK",
        "verdict": "ADMITTED",
        "duration_ms": 12.346,
        "caller": "billing",
        "trace_id": TRACE,
    }


def test_a_call_without_a_verdict() -> None:
    """Its line is a warning, and says why; what it does not have is left out."""
    found = line(HELD._replace(code="NOT_FOUND", outcome="ORGANIZATION_NOT_FOUND", reservation_id="", is_fine=False))
    assert (found["level"], found["code"], found["reason"]) == ("warning", "NOT_FOUND", "ORGANIZATION_NOT_FOUND")
    assert not {"verdict", "reservation_id"} & set(found)
    assert not {"verdict", "reason"} & set(line(HELD._replace(outcome="")))


def test_names_stay_names() -> None:
    """Whatever is in them, a line is one line, and JSON; what is too long is cut."""
    text = written(HELD._replace(organization=HOSTILE, reservation_id=HOSTILE, caller=HOSTILE))
    assert text.count("\n") == 1
    assert text.isascii()
    found = json.loads(text)
    assert found["organization"] == found["reservation_id"] == found["caller"] == HOSTILE
    assert len(line(HELD._replace(organization="x" * 60_000))["organization"]) == 128


def test_lines_for_people() -> None:
    """On a terminal, a line has the same, and nothing in a name commands it."""
    text = written(HELD, HELD._replace(organization=HOSTILE), for_people=True)
    first, second = text.splitlines()
    assert "Reserve" in first
    assert "ADMITTED" in first
    assert "12.346 ms" in first
    assert first.endswith(f'"acme" "r-1" "billing" trace_id={TRACE}')
    assert "\x1b" not in second


def accounted_for(got: bytearray) -> int:
    """Return how many calls have a line, or are counted as missing."""
    lines = [json.loads(text) for text in got.decode().split("\n")[:-1]]
    return sum(entry.get("count", 1) for entry in lines)


def test_nobody_waits_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody reads, lines are kept up to a bound, and dropped then; whoever reads again is told how many."""
    monkeypatch.setattr(line_writer, "LINES_MAX", 1000)
    monkeypatch.setattr(line_writer, "PATIENCE_S", 0.1)
    with pipe() as (reading, writing):
        got = bytearray()
        with logging_to(writing) as log:
            for _ in range(20_000):
                log.add(HELD)
            while accounted_for(got) < 20_000:
                got += os.read(reading, 1_000_000)
    assert accounted_for(got) == 20_000
    assert b'"event":"lines.dropped","level":"warning"' in got


def test_a_stuck_reader_does_not_keep_a_process_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server stops, what nobody reads is given up after a while."""
    monkeypatch.setattr(line_writer, "PATIENCE_S", 0.1)
    with pipe() as (reading, writing):
        lines = LineWriter(writing, str)
        with lines.writing():
            (thread,) = [thread for thread in threading.enumerate() if thread.name == "log-lines"]
            for _ in range(2000):
                lines.add(f"{'x' * 199}\n")
        assert thread.daemon
        assert not thread.is_alive()
        assert lines.missing == 2000 - len(os.read(reading, 1_000_000)) // 200


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """A full one, as a program that shares it may have made it, loses no line and tears none."""
    with pipe() as (reading, writing):
        os.set_blocking(writing, False)
        got = bytearray()
        lines = LineWriter(writing, str)
        with lines.writing():
            for number in range(5000):
                lines.add(f"{number:0200}\n")
            while not got.endswith(b"4999\n"):
                got += os.read(reading, 1000)
    assert got.decode().splitlines() == [f"{number:0200}" for number in range(5000)]
    assert lines.missing == 0


def test_what_cannot_be_written_is_counted() -> None:
    """Lines that a full disk takes none of are missing; that is told as soon as something can be written."""
    with pipe() as (reading, writing):
        disk = os.open("/dev/full", os.O_WRONLY)
        lines = LineWriter(disk, lambda count: f"missing {count}\n")
        with lines.writing():
            for number in range(100):
                lines.add(f"{number:0200}\n")
            while lines.missing < 100:
                time.sleep(0.01)
            os.dup2(writing, disk)
            lines.add("here\n")
            got = os.read(reading, 1000)
            while b"here" not in got or b"missing" not in got:
                got += os.read(reading, 1000)
        os.close(disk)
    assert sorted(got.decode().splitlines()) == ["here", "missing 100"]


def test_a_closed_pipe_is_no_trouble() -> None:
    """Where nobody can read any more, calls go on."""
    reading, writing = os.pipe()
    os.close(reading)
    with logging_to(writing) as log:
        log.add(HELD)
    os.close(writing)


def test_lines_of_many_writers_stay_whole() -> None:
    """Several that write to one pipe at once, as processes of one container do, never mix their lines."""
    with pipe() as (reading, writing):
        got = bytearray()

        def read() -> None:
            while not got.endswith(b"END\n"):
                got.extend(os.read(reading, 5000))

        reader = threading.Thread(target=read)
        reader.start()

        def write(name: str) -> None:
            writer = LineWriter(writing, str)
            with writer.writing():
                for number in range(2000):
                    writer.add(f"{name * 80} {number}\n")

        writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
        os.write(writing, b"END\n")
        reader.join()
    lines = got.decode().splitlines()[:-1]
    for name in "abcd":
        own = [text for text in lines if text.startswith(name)]
        assert own == [f"{name * 80} {number}" for number in range(2000)]
