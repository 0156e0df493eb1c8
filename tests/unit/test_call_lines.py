"""What is in a line about a call, and who waits for it to be written?"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from gatekeeper.rpc import line_writer
from gatekeeper.rpc.call_log import CallLog, Entry
from gatekeeper.rpc.line_writer import LineWriter

TRACE = "0af7651916cd43dd8448eb211c80319c"
HELD = Entry("Reserve", "OK", 0.0123456, "acme", "r-1", "ADMITTED", "billing", TRACE)
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


def written(*entries: Entry, for_people: bool = False) -> str:
    """Return what a log writes of calls."""
    with pipe() as (reading, writing):
        log = CallLog(writing, only_failed=False, for_people=for_people)
        with log.writing():
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
    found = line(HELD._replace(code="NOT_FOUND", outcome="ORGANIZATION_NOT_FOUND", reservation_id=""))
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
        log = CallLog(writing, only_failed=False, for_people=False)
        got = bytearray()
        with log.writing():
            for _ in range(20_000):
                log.add(HELD)
            while accounted_for(got) < 20_000:
                got += os.read(reading, 1_000_000)
    assert accounted_for(got) == 20_000
    assert b'"event":"calls.dropped","level":"warning"' in got


def test_a_stuck_reader_does_not_keep_a_process_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server stops, what nobody reads is given up after a while."""
    monkeypatch.setattr(line_writer, "PATIENCE_S", 0.1)
    with pipe() as (reading, writing):
        log = CallLog(writing, only_failed=False, for_people=False)
        with log.writing():
            for _ in range(2000):
                log.add(HELD)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "call-log"]
        assert thread.daemon
        # Let it go, and take what it still writes, so that it does not outlive the pipe.
        while thread.is_alive():
            os.read(reading, 1_000_000)
            thread.join(0.01)


def test_a_closed_pipe_is_no_trouble() -> None:
    """Where nobody can read any more, calls go on."""
    reading, writing = os.pipe()
    os.close(reading)
    log = CallLog(writing, only_failed=False, for_people=False)
    with log.writing():
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
