"""What do tests of commands share? The command line inside this process, which starts a hundred times faster."""

from __future__ import annotations

import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any
from unittest import mock

import pytest

from gatekeeper.cli import main

# What a command may find in the environment, and must not in a test.
OWN = ("GATEKEEPER_", "BILLING_API_URL", "MAX_MONTHLY_BUDGET", "COLUMNS", "FORCE_COLOR")


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that it printed."""
        return json.loads(self.out)


def run(*arguments: str, **environment: str) -> Done:
    """Run a command with these arguments, and these environment variables alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    out, err = StringIO(), StringIO()
    with (
        mock.patch.dict(os.environ, clean | environment, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    code = ended.value.code
    return Done(code=code if isinstance(code, int) else int(code is not None), out=out.getvalue(), err=err.getvalue())


def refused(done: Done) -> str:
    """Return the one line of wrong usage."""
    assert done.code == 2
    return one_line(done)


def failed(done: Done) -> str:
    """Return the one line of a failure."""
    assert done.code == 1
    return one_line(done)


def unanswered(done: Done) -> str:
    """Return the one line of a check that could not ask a server, which is no breach."""
    assert done.code == 3
    return one_line(done)


def one_line(done: Done) -> str:
    """Return the only line that a command printed, to standard error."""
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("gatekeeper: ")
    return done.err
