"""The command line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

MISSING = "The command line needs the server's packages: pip install 'budget-gatekeeper[server]'"

# What a write fails with that is no defect; without a file's name it is standard output's.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0, 1 for a failure or a check that failed, 2 for wrong usage.

    3 is for a `check` that got no answer.
    Where only the client is installed, tell what to install.
    """
    try:
        import typer

        from .app import app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gatekeeper"):
            raise
        sys.exit(f"{MISSING} (no module named {error.name})")
    try:
        code = app(arguments, prog_name="gatekeeper", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if context is not None and error.message == context.get_help():  # a group of commands without one
            typer.echo(error.message)
            sys.exit(error.exit_code)
        hint = f" See `{context.command_path} --help`." if context else ""
        typer.echo(f"gatekeeper: {error.format_message().rstrip('.')}.{hint}", err=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            if error.errno not in UNWRITABLE or error.filename is not None:
                raise
            typer.echo(f"gatekeeper: cannot write: {error.strerror}", err=True)
        _give_up_output()
        sys.exit(1)
    sys.exit(code)


def _give_up_output() -> None:
    """Let what could not be written not be tried again, and told of again, when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
