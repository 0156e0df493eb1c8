"""Does `watch` show what changes, come back by itself, and leave without a trace?"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.acceptance.commands import failed, run
from tests.conftest import Server, ServerFactory

WATCH = [sys.executable, "-m", "gatekeeper", "watch", "--organization", "acme"]
WAIT_S = 30


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names the server and the organization."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    return at


@contextmanager
def watching(*arguments: str, target: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a watch, which ends with the block if not before."""
    environment = os.environ | {"BILLING_API_URL": target, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen([*WATCH, *arguments], env=environment, text=True, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def lines_of(target: str) -> Iterator[subprocess.Popen[str]]:
    """Watch without a terminal."""
    with watching(target=target, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            yield process


def line(process: subprocess.Popen[str]) -> Any:
    """Return the next thing that a watch says."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_without_a_terminal_each_change_is_a_line(server: Server, at: dict[str, str]) -> None:
    """A snapshot, then what changes; Ctrl-C ends it with exit code 0 and no word."""
    with lines_of(server.address) as process:
        first = line(process)
        assert (first["organization"], first["snapshot"], first["overrides"]) == ("acme", True, [])
        assert [budget["cap"] for budget in first["budgets"]] == ["100.00"]
        run("cap", "5", "--campaign", "spring", **at)
        change = line(process)
        assert (change["snapshot"], [budget["scope"]["id"] for budget in change["budgets"]]) == (False, ["spring"])
        run("override", "on", "3", "--reason", "launch", **at)
        change = line(process)
        assert [override["remaining"] for override in change["overrides"]] == ["3.00"]
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_comes_back(start_server: ServerFactory, database_url: str) -> None:
    """When its server stops and another takes its place, one line says so, and a snapshot follows."""
    target = f"127.0.0.1:{free_port()}"
    first = start_server("--listen", target, database_url=database_url)
    run("cap", "100", BILLING_API_URL=first.address, GATEKEEPER_ORGANIZATION="acme")
    with lines_of(target) as process:
        assert line(process)["snapshot"]
        first.stop()
        assert process.stderr is not None
        assert "the connection is lost, and tried again" in process.stderr.readline()
        start_server("--listen", target, database_url=database_url)
        assert line(process)["snapshot"]


class Terminal:
    """What is on the screen of a terminal of 24 lines."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = ""

    def waits_for(self, *texts: str) -> None:
        """Read until a screen was drawn that has all of these in it."""
        self._wait(lambda screen: all(text in screen for text in texts))

    def _wait(self, is_there: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not any(map(is_there, self.written.split("\x1b[H"))):
            assert time.monotonic() < deadline, self.written[-4000:]
            self.written += os.read(self._descriptor, 65_536).decode(errors="replace")


@contextmanager
def on_a_terminal(target: str) -> Iterator[tuple[subprocess.Popen[str], Terminal]]:
    """Watch on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    try:
        with watching(target=target, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            yield process, Terminal(ours)
    finally:
        os.close(theirs)
        os.close(ours)


def test_on_a_terminal_it_fills_the_screen(server: Server, at: dict[str, str]) -> None:
    """It is redrawn when something changes, coloured by tier, and Ctrl-C leaves the terminal as it was."""
    run("cap", "5", "--campaign", "spring", **at)
    with on_a_terminal(server.address) as (process, terminal):
        terminal.waits_for("live", "organization, month", "campaign spring", "0.0 %")
        run("override", "on", "3", "--campaign", "spring", "--ttl", "2h", "--reason", "launch", **at)
        terminal.waits_for("Override for", "1h 59m")
        run("cap", "0", "--campaign", "spring", **at)
        terminal.waits_for("100.0 %", "EXCEEDED", "\x1b[1;31m")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert "\x1b[?1049h" in terminal.written


def test_what_cannot_be_watched(at: dict[str, str]) -> None:
    """An organization that nobody opened is a failure of one line."""
    assert "no organization 'other'" in failed(run("watch", "--organization", "other", **at))
