"""Does the command line start at once, and say in one line what is wrong with a command?"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gatekeeper import __version__
from gatekeeper.cli.amounts import read_amount
from gatekeeper.cli.durations import TTL_MAX, read_ttl, span_text
from tests.acceptance.commands import failed, refused, run, unanswered

COMMANDS = (
    "serve",
    "init",
    "status",
    "check",
    "watch",
    "cap",
    "override",
    "alerts",
    "price",
    "token",
    "audit",
    "replay",
    "verify",
    "doctor",
    "migrate",
)
NOWHERE = "127.0.0.1:1"

# Modules that take longer to import than a command may take to start.
HEAVY = ("grpc", "psycopg", "sqlalchemy", "pydantic", "google.protobuf", "structlog", "rich.console")


def test_help_names_every_command() -> None:
    """`--help` lists all commands, and each has help of its own."""
    listed = run("--help")
    assert listed.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in listed.out
        assert run(command, "--help").code == 0


def test_without_a_command() -> None:
    """Without a command there is help, and the exit code of wrong usage."""
    done = run()
    assert (done.code, done.err) == (2, "")
    assert "Usage: gatekeeper" in done.out


def test_a_group_without_a_command() -> None:
    """Where a group's commands are not obvious, they are listed, with the exit code of wrong usage."""
    done = run("spend")
    assert (done.code, done.err) == (2, "")
    assert "\n  campaigns " in done.out


def test_version() -> None:
    """`--version` prints one line."""
    assert run("--version").out == f"gatekeeper {__version__}\n"


@pytest.mark.parametrize("buffered", [True, False])
def test_output_that_cannot_be_written(buffered: bool) -> None:
    """A full disk costs one line, whether it shows at a write or at the end."""
    told = "gatekeeper: cannot write: No space left on device\n"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gatekeeper", "--version"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"},
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (1, told)


def test_completion_is_offered() -> None:
    """Completion can be installed for the user's shell."""
    assert "--install-completion" in run("--help").out


def test_starts_at_once() -> None:
    """Help imports nothing heavy, so it is there in a moment."""
    script = f"import sys, gatekeeper.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("price",),
        ("status", "--nonsense"),
        ("status",),
        ("check", "--organization"),
        ("check", "--organization", "acme", "--amount", "1", "--input-tokens", "1"),
        ("check", "--organization", "acme", "--amount", "1", "--model", "gpt-5"),
        ("check", "--organization", "acme", "--model", "gpt-5"),
        ("check", "--organization", "acme", "--model", "gpt-5", "--input-tokens", "-1"),
        ("check", "--organization", "acme", "--target", "http://127.0.0.1:1/path"),
        ("cap", "--organization", "acme"),
        ("cap", "--organization", "acme", "1", "--campaign", "a", "--agent", "b"),
        ("cap", "--organization", "acme", "1", "--window", "week"),
        ("cap", "--organization", "acme", "1", "--threshold", "0"),
        ("cap", "--organization", "acme", "1", "--floor", "batch"),
        ("cap", "--organization", "acme", "1", "--floor", "critical=90"),
        ("cap", "--organization", "acme", "1", "--floor", "batch=0"),
        ("cap", "--organization", "acme", "1", "--floor", "batch=101"),
        ("check", "--organization", "acme", "--priority", "batch"),
        ("check", "--organization", "acme", "--amount", "1", "--at", "warning"),
        ("check", "--organization", "acme", "--amount", "1", "--priority", "low"),
        ("check", "--organization", "acme", "--at", "ok"),
        ("watch",),
        ("override",),
        ("override", "on", "5", "--organization", "acme"),
        ("override", "on", "5", "--reason", "launch"),
        ("override", "on", "--organization", "acme", "--reason", "launch"),
        ("override", "on", "-5", "--organization", "acme", "--reason", "launch"),
        ("override", "on", "5", "--organization", "acme", "--reason", "x", "--campaign", "a", "--reservation", "b"),
        ("override", "off", "o1", "--organization", "acme", "--campaign", "a"),
        ("override", "list", "--organization", "acme", "--state", "on"),
        ("override", "approve", "o1", "--organization", "acme"),
        ("override", "decline", "--organization", "acme", "--reason", "no"),
        ("alerts", "list", "--organization", "acme", "--kind", "fire"),
        ("alerts", "list", "--organization", "acme", "--delivery", "lost"),
        ("price", "set", "--organization", "acme", "--model", "m", "--input", "1"),
        ("price", "set", "--organization", "acme", "--model", "m", "--agent-type", "seo", "--input", "1"),
        ("price", "set", "--organization", "acme", "--agent-type", "seo"),
        ("price", "set", "--organization", "acme", "--agent-type", "seo", "--per-1000-tokens", "1", "--output", "1"),
        ("price", "set", "--organization", "acme", "--model", "m", "--input", "1", "--output", "1", "--from", "soon"),
        ("init", "--organization", "acme", "--expiry-policy", "keep"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """Wrong usage costs one line and exit code 2, before anything is asked."""
    refused(run(*arguments))


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e2",
        "-1",
        "+1",
        "",
        " 1",
        "1,5",
        "1_000",
        "0x1",
        "٣",
        "1.0000000001",
        "1" * 13,
        "0." + "0" * 70,
        "five",
        "1 USD",
        "--",
        ".",
    ],
)
def test_what_is_no_amount(text: str) -> None:
    """An amount is a plain decimal with at most nine decimals, below a trillion."""
    for arguments in (
        ("check", "--organization", "acme", f"--amount={text}"),
        ("cap", "--organization", "acme", "--", text),
        ("init", "--organization", "acme", f"--monthly-budget={text}"),
        ("override", "on", "--organization", "acme", "--reason", "launch", "--", text),
    ):
        assert "Invalid value" in refused(run(*arguments, BILLING_API_URL=NOWHERE))


@pytest.mark.parametrize(
    "text", ["0", "5", "5.", ".5", "0.10", "0.000000001", "999999999999.999999999", "1.0000000000"]
)
def test_what_is_an_amount(text: str) -> None:
    """A plain decimal is exactly the amount that it says."""
    assert read_amount(text) == Decimal(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0h", "no time at all"),
        ("32d", "longer than 31 days"),
        ("745h", "longer than 31 days"),
        ("999999999d", "longer than 31 days"),
        ("2", "is not a time like 30m, 2h or 7d"),
        ("-2h", "is not a time like"),
        ("1.5h", "is not a time like"),
        ("2w", "is not a time like"),
        ("٣h", "is not a time like"),
        ("", "is not a time like"),
    ],
)
def test_what_is_no_time_to_live(text: str, problem: str) -> None:
    """A span is a whole number and its unit, more than nothing and at most 31 days."""
    done = run("override", "on", "5", "--organization", "acme", "--reason", "launch", f"--ttl={text}")
    assert problem in refused(done)


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)), ("31d", TTL_MAX)],
)
def test_what_is_a_time_to_live(text: str, span: timedelta) -> None:
    """Seconds, minutes, hours and days."""
    assert read_ttl(text) == span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59, "59s"), (90, "1m 30s"), (7_229, "2h"), (7_260, "2h 1m"), (180_000, "2d 2h"), (86_460, "1d")],
)
def test_what_is_left_of_a_time(seconds: int, text: str) -> None:
    """It is told by its largest unit and the next."""
    assert span_text(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("check",),
        ("check", "--amount", "1"),
        ("cap", "1"),
        ("override", "list"),
        ("override", "on", "1", "--reason", "launch"),
        ("alerts", "test"),
        ("watch",),
    ],
)
def test_no_server(command: tuple[str, ...]) -> None:
    """Without a server, one line names the target and what to do."""
    told = unanswered if command[0] == "check" else failed
    line = told(run(*command, "--organization", "acme", BILLING_API_URL=NOWHERE))
    assert NOWHERE in line
    assert "`gatekeeper serve`" in line


@pytest.mark.parametrize(
    "command", [("init", "--organization", "a"), ("price", "list"), ("verify",), ("migrate",), ("serve",)]
)
def test_no_database(command: tuple[str, ...]) -> None:
    """Without the database, one line says why, and nothing of the password."""
    line = failed(run(*command, GATEKEEPER_DATABASE_URL="postgresql://user:s3cret@127.0.0.1:1/nowhere"))
    assert "the database cannot be reached" in line
    assert "s3cret" not in line


def test_wrong_setting() -> None:
    """A setting that cannot be read is named in one line."""
    assert "MONTHLY_BUDGET" in refused(run("verify", MAX_MONTHLY_BUDGET="nan")).upper()
