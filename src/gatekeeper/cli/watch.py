"""The command that shows how budgets stand while that changes."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .connection import open_client
from .options import CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .override_texts import instant_text, override_document
from .statuses import status_document

if TYPE_CHECKING:
    from gatekeeper_client import Client, GatekeeperError
    from gatekeeper_client.v1.report_service_pb2 import WatchStatusResponse

REFRESHES_PER_S = 4


def watch(
    *,
    organization: Organization,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line for each change, as without a terminal.")
    ] = False,
) -> None:
    """Show how budgets stand, the fullest first, and the overrides in force, until Ctrl-C.

    Refreshed when something changes, at most four times a second. A lost
    connection comes back by itself.
    """
    with (
        suppress(KeyboardInterrupt),
        open_client(
            target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
        ) as client,
    ):
        if as_json or not _has_screen():
            _print_lines(client, organization)
        else:
            _show(client, organization)


def _has_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def _show(client: Client, organization: str) -> None:
    """Fill the screen until interrupted, and leave what was on it before as it was."""
    from rich.live import Live

    from .output import console
    from .watch_screen import Screen

    screen = Screen(organization)
    with Live(
        console=console(), screen=True, get_renderable=lambda: screen, refresh_per_second=REFRESHES_PER_S
    ) as live:
        for standing in client.watch_status(organization, on_lost=screen.lose):
            screen.take(standing)
            live.refresh()


def _print_lines(client: Client, organization: str) -> None:
    """Print a line for each message, and tell on standard error of each time that the connection was lost."""
    is_lost, overrides = False, None

    def lose(error: GatekeeperError) -> None:
        nonlocal is_lost
        if not is_lost:
            typer.echo(f"gatekeeper: the connection is lost, and tried again ({error.message})", err=True)
        is_lost = True

    for standing in client.watch_status(organization, on_lost=lose):
        is_lost = False
        if not standing.snapshot and not standing.budgets and standing.overrides == overrides:
            continue
        overrides = standing.overrides
        typer.echo(json.dumps(_document(organization, standing), ensure_ascii=False))


def _document(organization: str, standing: WatchStatusResponse) -> dict[str, Any]:
    return {
        "organization": organization,
        "snapshot": standing.snapshot,
        "read_time": instant_text(standing.read_time),
        "budgets": [status_document(budget) for budget in standing.budgets],
        "overrides": [override_document(override) for override in standing.overrides],
    }
