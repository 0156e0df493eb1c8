"""What is written down when an invoice is issued, or taken back?"""

from __future__ import annotations

from .access import Actor
from .audit import AuditAction, AuditEvent, Content
from .invoices import InvoiceDocument
from .money import plain


def issued(document: InvoiceDocument, content_hash: bytes, actor: Actor) -> AuditEvent:
    """Return what is written down of an invoice."""
    return AuditEvent(
        action=AuditAction.INVOICE_ISSUED,
        actor=actor,
        subject=f"invoice {document.number!r}",
        occurred_at=document.issued_at,
        after=_content(document, content_hash),
    )


def credited(invoice: InvoiceDocument, note: InvoiceDocument, content_hash: bytes, actor: Actor) -> AuditEvent:
    """Return what is written down of a credit note: about the invoice that it takes back."""
    return AuditEvent(
        action=AuditAction.INVOICE_CREDITED,
        actor=actor,
        subject=f"invoice {invoice.number!r}",
        occurred_at=note.issued_at,
        before={"total_amount": plain(invoice.total_amount)},
        after={"number": note.number, **_content(note, content_hash)},
        reason=note.reason,
    )


def _content(document: InvoiceDocument, content_hash: bytes) -> Content:
    return {
        "period": document.period,
        "currency": document.currency,
        "ledger_amount": plain(document.ledger_amount),
        "net_amount": plain(document.net_amount),
        "tax_amount": plain(document.tax_amount),
        "total_amount": plain(document.total_amount),
        "entries": f"{document.entries}",
        "content_hash": content_hash.hex(),
        "ledger_hash": document.ledger_hash,
    }
