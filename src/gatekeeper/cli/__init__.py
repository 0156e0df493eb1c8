"""The command line."""

from __future__ import annotations

import sys

MISSING = """The command line needs the server's packages: pip install 'budget-gatekeeper[server]'"""


def main() -> None:
    """Run the command line; tell what to install where only the client is."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gatekeeper"):
            raise
        sys.exit(f"{MISSING} (no module named {error.name})")
    app()
