"""Which files can an invoice be rendered as, and what are they called?"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from .invoices import InvoiceDocument, InvoiceKind


class InvoiceFormat(StrEnum):
    """A file that an invoice is rendered as."""

    PDF = "PDF"
    CSV = "CSV"
    CSV_LINES = "CSV_LINES"
    FOCUS = "FOCUS"
    JSON = "JSON"
    UBL = "UBL"
    CII = "CII"
    FACTUR_X = "FACTUR_X"


# Those with a row for each execution, or nearly: long, and rendered anew each time. The others of an issued invoice are
# kept as they were first rendered.
OF_EXECUTIONS = frozenset({InvoiceFormat.CSV, InvoiceFormat.FOCUS})

# Those of EN 16931, which demand more than an invoice must say, and libraries that a server may lack.
ELECTRONIC = frozenset({InvoiceFormat.UBL, InvoiceFormat.CII, InvoiceFormat.FACTUR_X})

ENDINGS: Mapping[InvoiceFormat, str] = {
    InvoiceFormat.PDF: ".pdf",
    InvoiceFormat.CSV: "-executions.csv",
    InvoiceFormat.CSV_LINES: "-lines.csv",
    InvoiceFormat.FOCUS: "-focus.csv",
    InvoiceFormat.JSON: ".json",
    InvoiceFormat.UBL: "-ubl.xml",
    InvoiceFormat.CII: "-cii.xml",
    InvoiceFormat.FACTUR_X: "-factur-x.pdf",
}


def file_name(document: InvoiceDocument, kind: InvoiceFormat) -> str:
    """Return what to call a file of an invoice: `invoice-2026-000007.pdf`, `draft-2026-11.pdf`."""
    name = document.number or document.period
    return f"{document.kind.lower().replace('_', '-')}-{name}{ENDINGS[kind]}"


def is_kept(document: InvoiceDocument, kind: InvoiceFormat) -> bool:
    """Tell whether a file is kept, so that it never changes."""
    return document.kind is not InvoiceKind.DRAFT and kind not in OF_EXECUTIONS
