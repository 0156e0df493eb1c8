"""How is an invoice written for another company's books? As UBL 2.1 or CII D16B, or as a PDF that has the CII with it.

The library factur-x writes both by EN 16931 from the norm's terms. The PDF has factur-x.xml attached where readers of
Factur-X and ZUGFeRD look for it; it is no PDF/A-3, and does not say that it is.
"""

from __future__ import annotations

from datetime import UTC
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, cast

from gatekeeper.domain.errors import FormatUnavailable
from gatekeeper.domain.invoices import InvoiceDocument

from .en16931 import terms_of

if TYPE_CHECKING:
    from pypdf import PdfWriter

EXTRA = "einvoice"
PROFILE = "en16931"
FILE_NAME = "factur-x.xml"
PDF_A = "http://www.aiim.org/pdfa/ns/id/"
FACTUR_X = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"


def ubl(document: InvoiceDocument) -> bytes:
    """Return UBL 2.1, an Invoice or a CreditNote. Raises `BillingIncomplete`, `FormatUnavailable`."""
    return _xml(document, "ubl-2.1", "UBL")


def cii(document: InvoiceDocument) -> bytes:
    """Return UN/CEFACT CII D16B. Raises `BillingIncomplete`, `FormatUnavailable`."""
    return _xml(document, "factur-x", "CII")


def factur_x(pdf: bytes, document: InvoiceDocument) -> bytes:
    """Return a PDF of the invoice with its CII attached. Raises `BillingIncomplete`, `FormatUnavailable`.

    All dates in it are the invoice's own, so that the same PDF becomes the same bytes again.
    """
    library = _library("FACTUR_X")
    from pypdf import PdfWriter

    writer = PdfWriter(clone_from=BytesIO(pdf))
    _attach(writer, cii(document), document)
    _describe(writer, _metadata(document, library))
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _attach(writer: PdfWriter, xml: bytes, document: InvoiceDocument) -> None:
    """Attach a file where the whole document says that it belongs to it."""
    from pypdf.generic import ArrayObject, NameObject, NumberObject, TextStringObject

    attached = writer.add_attachment(FILE_NAME, xml)
    attached.alternative_name = TextStringObject(FILE_NAME)
    attached.description = TextStringObject(_title(document))
    attached.subtype = NameObject("/text/xml")
    attached.size = NumberObject(len(xml))
    attached.associated_file_relationship = NameObject("/Alternative")
    attached.creation_date = attached.modification_date = document.issued_at.astimezone(UTC)
    writer.root_object[NameObject("/AF")] = ArrayObject([attached.pdf_object.indirect_reference])


def _describe(writer: PdfWriter, metadata: bytes) -> None:
    from pypdf.generic import DictionaryObject, NameObject

    writer.xmp_metadata = metadata
    stream = cast(DictionaryObject, writer.root_object["/Metadata"].get_object())
    stream.update({NameObject("/Type"): NameObject("/Metadata"), NameObject("/Subtype"): NameObject("/XML")})


def _xml(document: InvoiceDocument, flavor: str, name: str) -> bytes:
    library = _library(name)
    written: bytes = library.generate_xml(
        terms_of(document), flavor=flavor, level=PROFILE, check_xsd=False, check_schematron=None
    )
    return written


def _library(name: str) -> ModuleType:
    try:
        import facturx
    except ModuleNotFoundError:
        raise FormatUnavailable(format=name, extra=EXTRA) from None
    library: ModuleType = facturx
    return library


def _metadata(document: InvoiceDocument, library: ModuleType) -> bytes:
    """Return the XMP by which readers know the attachment, without the claim to be PDF/A."""
    from lxml import etree

    tree = library.generate_xmp_object(
        {
            "pdfa3_flavor": "",
            "title": _title(document),
            "author": document.seller.legal_name,
            "subject": document.terms.buyer.legal_name or document.organization,
            "producer": "Budget Gatekeeper",
            "creator_tool": "Budget Gatekeeper",
            "timestamp": f"{document.issued_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S+00:00}",
            "urn": FACTUR_X,
            "documenttype": "INVOICE",
            "xml_filename": FILE_NAME,
            "version": "1.0",
            "xmp_level": "EN 16931",
        }
    )
    claim = tree.find(f".//{{{PDF_A}}}part").getparent()
    claim.getparent().remove(claim)
    body: bytes = etree.tostring(tree, encoding="utf-8")
    return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n' + body + b'\n<?xpacket end="w"?>'


def _title(document: InvoiceDocument) -> str:
    return f"Invoice {document.number or document.period} by EN 16931"
