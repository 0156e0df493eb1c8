"""The commands that list alerts, try whether they arrive, and try those anew that did not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatekeeper.domain.alert_deliveries import DeliveryState
from gatekeeper.domain.alerts import AlertKind

from .alert_texts import COLUMNS, alert_document, alert_row, delivery_text, state_of
from .connection import open_client
from .durations import read_ttl, span_text
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile, fail
from .output import print_json, print_table

if TYPE_CHECKING:
    from gatekeeper_client import Client, fields
    from gatekeeper_client.v1.alert_pb2 import Alert, AlertDelivery

LIMIT_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000
POLL_S: Final = 0.25
TEST_TIMEOUT: Final = timedelta(seconds=30)


app = typer.Typer(help="List alerts, try whether they arrive, and try those anew that did not.", rich_markup_mode=None)


@app.command("list")
def list_alerts(
    *,
    organization: Organization,
    kind: Annotated[
        AlertKind | None,
        typer.Option(
            metavar="KIND", case_sensitive=False, help=f"One of {', '.join(AlertKind).lower()}.", show_default="all"
        ),
    ] = None,
    delivery: Annotated[
        DeliveryState | None,
        typer.Option(
            metavar="|".join(DeliveryState).lower(),
            case_sensitive=False,
            help="Only those with a channel that far; dead: given up.",
            show_default="all",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = LIMIT_DEFAULT,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first, and how far each has come on each channel.

    What concerns the whole installation has no organization (--organization "");
    only operators see it.
    """
    which: fields.Alerts = {"page_size": min(limit, PAGE_SIZE_MAX)}
    if kind is not None:
        which["kind"] = kind.value
    if delivery is not None:
        which["delivery_state"] = delivery.value
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = list(islice(client.list_alerts(organization, **which), limit))
    if as_json:
        print_json({"organization": organization, "alerts": [alert_document(alert) for alert in found]})
    elif found:
        print_table(COLUMNS, [alert_row(alert) for alert in found])
    else:
        typer.echo("There is no such alert.")


@app.command("test")
def try_channels(
    *,
    organization: Organization,
    timeout: Annotated[
        timedelta | None, typer.Option(metavar="TIME", parser=read_ttl, help="How long to wait.", show_default="30s")
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a test alert on every channel, and tell which took it.

    Waits until each channel has taken it or failed once; exit code 1 if one
    failed. A failed one is tried again by the server, as any alert is.
    """
    timeout = timeout or TEST_TIMEOUT
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        alert_id = client.test_alerts(organization).alert.alert_id
        with _waiting():
            alert = _settled(client, organization, alert_id, time.monotonic() + timeout.total_seconds())
    if as_json:
        print_json(alert_document(alert))
    else:
        typer.echo("\n".join(map(delivery_text, alert.deliveries)))
    if not _is_settled(alert):
        fail(f"not every channel has tried it within {span_text(timeout)}: does `gatekeeper serve` run?")
    if any(state_of(delivery) != "DELIVERED" for delivery in alert.deliveries):
        raise typer.Exit(1)


@app.command("retry")
def retry_dead(
    *,
    organization: Organization,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Try anew what was given up of the alerts of the last 31 days.

    What concerns the whole installation has no organization (--organization "");
    only operators may try it anew.
    """
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        count = client.retry_alerts(organization).deliveries
    if as_json:
        print_json({"organization": organization, "deliveries": count})
    elif count:
        typer.echo(f"{count} {'delivery is' if count == 1 else 'deliveries are'} on the way again.")
    else:
        typer.echo("None was given up.")


def _settled(client: Client, organization: str, alert_id: str, deadline: float) -> Alert:
    """Return the alert once every channel has taken it or failed, or as it is at the deadline."""
    while True:
        tests = client.list_alerts(organization, kind="TEST")
        alert = next(alert for alert in tests if alert.alert_id == alert_id)
        if _is_settled(alert) or time.monotonic() >= deadline:
            return alert
        time.sleep(POLL_S)


def _is_settled(alert: Alert) -> bool:
    return bool(alert.deliveries) and all(map(_was_tried, alert.deliveries))


def _was_tried(delivery: AlertDelivery) -> bool:
    return state_of(delivery) != "PENDING" or bool(delivery.last_error)


@contextmanager
def _waiting() -> Iterator[None]:
    """Show on a terminal that something is waited for."""
    from rich.console import Console

    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status("waiting for the channels"):
        yield
