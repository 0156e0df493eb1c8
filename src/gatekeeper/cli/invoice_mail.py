"""How is an invoice sent to people? By Apprise, with its PDF attached; once for each file in a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from .invoice_files import Exported
from .invoice_texts import invoice_text, plain_money

if TYPE_CHECKING:
    from apprise import Apprise

FILE_BYTES_MAX = 65_536


class NotSent(Exception):
    """An invoice could not be sent; the message says why, without an address."""


def open_mail(path: Path) -> Apprise:
    """Return what sends to the URLs in a file, one a line. Raises `NotSent`."""
    from gatekeeper.private_file import read_private

    try:
        import apprise
    except ImportError:
        message = "sending needs Apprise: pip install 'budget-gatekeeper[notify]'"
        raise NotSent(message) from None
    # It logs URLs, with the passwords in them.
    logging.getLogger("apprise").disabled = True
    try:
        lines = [line.strip() for line in read_private(path, FILE_BYTES_MAX).decode().splitlines()]
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or ("it is no UTF-8" if isinstance(error, UnicodeError) else error)
        message = f"{path}: {problem}"
        raise NotSent(message) from None
    mail = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Budget Gatekeeper", async_mode=False))
    for number, url in enumerate((line for line in lines if line and not line.startswith("#")), 1):
        if not mail.add(url):
            message = f"{path}: Apprise can make nothing of URL {number}"
            raise NotSent(message)
    if not len(mail):
        message = f"{path}: there is no URL in it"
        raise NotSent(message)
    return mail


def send(mail: Apprise, exported: Exported) -> bool:
    """Send an invoice with its PDF, unless that was done before; return whether it was. Raises `NotSent`."""
    pdf = next(path for path in exported.paths if path.suffix == ".pdf")
    sent = pdf.with_name(f".{pdf.name}.sent")
    if sent.exists():
        return False
    invoice = exported.invoice
    total = f"{plain_money(invoice.total_amount)} {invoice.total_amount.currency_code}"
    title = f"Invoice {invoice.number} of {invoice.period}: {total}"
    if not mail.notify(body=invoice_text(invoice, ()), title=title, attach=str(pdf)):
        message = f"{pdf.name} could not be sent to everybody; the same command tries again"
        raise NotSent(message)
    sent.touch()
    return True
