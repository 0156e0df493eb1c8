"""Do electronic invoices come over the wire, or is told what they lack?"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import facturx
import grpc
import pytest
from lxml import etree
from pypdf import PdfReader

from gatekeeper_client.v1 import invoice_pb2
from tests.conftest import ServerFactory
from tests.integration.billed_books import move_a_month_back
from tests.unit.test_einvoice import check_schema

from .invoicing import INVOICE, Bookkeeper
from .refusals import refusal
from .wire import Wire

UBL, CII, FACTUR_X = (
    invoice_pb2.INVOICE_FORMAT_UBL,
    invoice_pb2.INVOICE_FORMAT_CII,
    invoice_pb2.INVOICE_FORMAT_FACTUR_X,
)
ELECTRONIC = (UBL, CII, FACTUR_X)
SELLER = {
    "GATEKEEPER_SELLER_NAME": "Modellwerk GmbH",
    "GATEKEEPER_SELLER_CITY": "Berlin",
    "GATEKEEPER_SELLER_POSTAL_CODE": "10115",
    "GATEKEEPER_SELLER_COUNTRY": "DE",
    "GATEKEEPER_SELLER_VAT_ID": "DE123456789",
}
PROFILE = invoice_pb2.BillingProfile(
    buyer=invoice_pb2.InvoiceParty(legal_name="Größe & Söhne <株式会社>", city="Paris", country="FR"),
    tax_category=invoice_pb2.TAX_CATEGORY_STANDARD,
    tax_rate_percent="19",
)


@pytest.mark.parametrize("kind", ELECTRONIC)
def test_what_an_electronic_invoice_lacks_is_told(wire: Wire, organization: str, kind: int) -> None:
    """All of it at once; without a profile and settings that is who bills, and whose country the buyer is in."""
    books = Bookkeeper(wire, organization)
    books.spend("1")
    refused = refusal(books.export, "", kind)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BILLING_INCOMPLETE")
    missing = "our legal name, our country, the buyer's country, our VAT id or e-mail address"
    assert refused.metadata == {"missing": missing}
    assert missing in refused.message
    assert refused.retry_delay_s is None
    assert books.invoice().net_amount.units == 1
    # An invoice that was issued as it is could never be rendered so.
    assert refusal(books.export, f"{datetime.now(UTC).year - 1}-12", kind).reason == "BILLING_INCOMPLETE"
    assert not books.listed().invoices


def test_electronic_invoices_come_over_the_wire(start_server: ServerFactory, database_url: str) -> None:
    """XML by the schemas, and a PDF with the CII in it, one after another and the same whenever they are asked for."""
    wire = Wire(start_server(database_url=database_url, **SELLER).address, database_url)
    books = Bookkeeper(wire, "acme")
    books.spend("1.255", campaign="<spring> & “summer”")
    books.set_profile(PROFILE)
    move_a_month_back(database_url)
    ((period,),) = wire.sql("SELECT month FROM executions")
    invoice, files, chunks = books.export(period, *ELECTRONIC)
    assert invoice.kind == INVOICE
    assert [chunk.format for chunk in chunks if chunk.last] == list(ELECTRONIC)
    ubl, cii, pdf = files.values()
    for xml in (ubl, cii):
        check_schema(xml)
        text = "".join(etree.fromstring(xml).itertext())
        assert all(said in text for said in (invoice.number, "Modellwerk GmbH", PROFILE.buyer.legal_name, "1.50"))
    name, attached = facturx.get_xml_from_pdf(pdf)
    assert (name, attached) == ("factur-x.xml", cii)
    assert invoice.number in PdfReader(BytesIO(pdf)).pages[0].extract_text()
    assert books.export("", *ELECTRONIC, number=invoice.number).files == files
    wire.close()
