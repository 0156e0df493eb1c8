"""How does an invoice read as JSON? All that it says, its total, and the hash of its canonical text.

Whoever leaves the last two out, and sorts the keys of the rest, has the canonical text again.
"""

from __future__ import annotations

import json
from typing import BinaryIO

from gatekeeper.domain.invoices import InvoiceDocument, content_hash

from .canonical import to_record, to_text


def write(document: InvoiceDocument, out: BinaryIO) -> None:
    """Write an invoice, indented."""
    record = to_record(document)
    record["total_amount"] = f"{document.total_amount:f}"
    record["content_hash"] = content_hash(to_text(document)).hex()
    out.write(json.dumps(record, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n")
