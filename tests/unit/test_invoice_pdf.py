"""Does the PDF of an invoice say what the invoice says, whatever is in it?"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdf import PdfReader

from gatekeeper.domain.invoices import Branding, InvoiceDocument, InvoiceKind, Party, Tax, TaxCategory, credit
from gatekeeper.domain.money import ZERO, plain
from gatekeeper.invoicing import typefaces
from gatekeeper.invoicing.letterhead import logo
from gatekeeper.invoicing.pdf import render
from gatekeeper.invoicing.scripts import clusters, visible
from gatekeeper.invoicing.shaping import Typesetter
from tests.unit.invoice_samples import BUYER, ISSUED_AT, LEDGER_HASH, SELLER, TERMS, charge, long_sample, sample

HEAD = "# Description Calls Input tokens Output tokens Amount"
AMOUNT = re.compile(r"(-?[\d,]+\.\d\d)$", re.MULTILINE)
# What pypdf gives back as it was written. Arabic and Hebrew it gives word by word, since those run the other way.
NAMES = (
    "Παράδειγμα Α.Ε.",
    "ООО «Пример»",
    "Žluťoučký Việt Nam ẞ",
    "示例有限公司",
    "株式会社サンプル",
    "예시 주식회사",
    "บริษัท ตัวอย่าง จำกัด",
    "उदाहरण प्राइवेट लिमिटेड हिन्दी",
    "தமிழ் எடுத்துக்காட்டு",
    "Rocket 🚀 👩‍💻",
)
TURNED = ("شركة المثال المحدودة", "דוגמה")


def drawn(document: InvoiceDocument, content_hash: str = "") -> bytes:
    out = BytesIO()
    render(document, out, content_hash)
    return out.getvalue()


def pages(document: InvoiceDocument) -> Sequence[str]:
    return [page.extract_text() for page in PdfReader(BytesIO(drawn(document))).pages]


def words(document: InvoiceDocument) -> str:
    """Return all of the text in the form that lets letters be compared, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", "\n".join(pages(document))).split())


def amounts(text: str) -> Decimal:
    """Return the sum of the lines' amounts on the pages."""
    listed = text[text.index(HEAD) : text.index("Net amount")]
    return sum((Decimal(found.replace(",", "")) for found in AMOUNT.findall(listed)), ZERO)


def test_everything_is_on_the_pages() -> None:
    """Numbers, dates, parties, lines, sums and hashes can be read; the lines' amounts add up to the net amount."""
    document = sample()
    text = "\n".join(page.extract_text() for page in PdfReader(BytesIO(drawn(document, "c0de" * 16))).pages)
    said = " ".join(text.split())
    for party in (SELLER, BUYER):
        for part in (party.legal_name, party.vat_id, party.email, party.city, *party.address.splitlines()):
            assert part in said
    for part in (document.number, "2026-12-01", "Due 2026-12-31", "2026-11", "PO-4711", "Tax 20 %, standard rate"):
        assert part in said
    for line in document.lines:
        figures = f"{line.calls:,} {line.input_tokens:,} {line.output_tokens:,} {line.amount:,}"
        assert f"{line.position} {line.description} {figures}" in said
    assert amounts(text) == document.net_amount
    assert f"Total to pay EUR {document.total_amount}" in said
    assert f"Exact sum of the ledger EUR {plain(document.ledger_amount)}" in said
    assert said.count(f"add up to the ledger's sum, EUR {plain(document.ledger_amount)}") == 2
    for day in document.days:
        assert f"{day.day} {day.calls} {plain(day.cost)}" in said
    for model in document.models:
        assert f"{model.model} {model.calls} {model.input_tokens:,} {model.output_tokens:,} {plain(model.cost)}" in said
    assert f"The launch must not stop at night ada@example.org 40 {plain(document.override_amount)}" in said
    assert LEDGER_HASH in said
    assert "c0de" * 16 in said
    assert "Late: used in an earlier month" in said


def test_the_same_document_gives_the_same_bytes() -> None:
    """Neither the clock nor chance is in a file, with characters of many typefaces on it as well."""
    document = sample([charge(number, campaign=name) for number, name in enumerate((*NAMES, *TURNED))])
    assert drawn(document) == drawn(document)


def test_all_typefaces_are_embedded() -> None:
    """A reader needs none of its own for an invoice."""
    document = sample([charge(number, campaign=name) for number, name in enumerate((*NAMES, *TURNED))])
    fonts = PdfReader(BytesIO(drawn(document))).pages[0]["/Resources"]["/Font"]  # type: ignore[index]
    descendants = [font.get_object()["/DescendantFonts"][0].get_object() for font in fonts.values()]
    assert all("/FontFile2" in font["/FontDescriptor"] for font in descendants)
    assert len(descendants) > 5


def test_each_of_many_pages_has_the_tables_head_and_its_number() -> None:
    """Three hundred lines are all there, in order, on pages that say which of how many they are."""
    document = long_sample(300)
    found = pages(document)
    text = "\n".join(found)
    assert amounts(text) == document.net_amount
    listed = [page for page in found if "Campaign" in page]
    assert len(listed) > 9
    assert all(page.count(HEAD) == 1 for page in listed)
    assert all(f"Page {number} of {len(found)}" in page for number, page in enumerate(found, 1))
    assert all("Invoice 2026-000042" in page for page in found[1:])
    positions = [int(position) for position in re.findall(r"^(\d+) Campaign", text, re.MULTILINE)]
    assert positions == list(range(1, 301))


def test_names_in_any_script_can_be_copied() -> None:
    """What is copied from the page is what was written: letters that join, and marks above them, as well."""
    long = sample([charge(number, campaign=name, agent_type="") for number, name in enumerate((*NAMES, *TURNED))])
    said = words(replace(long, terms=replace(TERMS, buyer=replace(BUYER, legal_name=TURNED[0], address=NAMES[4]))))
    for name in (*NAMES, *TURNED):
        assert unicodedata.normalize("NFKC", name) in said


def test_characters_that_no_typeface_has_are_boxes_that_keep_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra typefaces, Chinese is drawn with the reader's own, and what is left as boxes."""
    monkeypatch.setattr(typefaces, "_folder", lambda _package: None)
    names = (*NAMES, "𒀀𒁀")
    said = words(sample([charge(number, campaign=name, agent_type="") for number, name in enumerate(names)]))
    for name in names:
        assert unicodedata.normalize("NFKC", name) in said


def test_hostile_text_is_shown_as_it_is() -> None:
    """Markup is no markup, and characters that hide or turn text around are spelled out."""
    hostile = "<b>&amp;</b> \x00\x1b[1m \u202egnp.exe \ud800 (a)\\ %PDF endstream"
    parties = {"seller": replace(SELLER, legal_name=hostile), "terms": replace(TERMS, buyer=Party(legal_name=hostile))}
    lines = [charge(0, campaign=hostile, agent_type="")]
    said = words(sample(lines, number="<i>7</i>", organization=hostile, branding=Branding(footer=hostile), **parties))
    assert "Campaign <b>&amp;</b> [U+0000][U+001B][1m [U+202E]gnp.exe [U+D800] (a)\\ %PDF endstream" in said
    assert "<i>7</i>" in said


def test_any_text_fits_its_column() -> None:
    """Whatever the characters, lines are as narrow as they must be, and together say all of the text."""
    typesetter = Typesetter()

    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=60), st.integers(2_000, 20_000))
    def fits(text: str, width: int) -> None:
        lines = typesetter.wrap(text, width)
        assert "".join("".join(lines).split()) == "".join(visible(text).split())
        wide = [line for line in lines if typesetter.shape(line).width > width + 100]
        assert all(len(list(clusters(line))) == 1 for line in wide)

    fits()


def test_long_names_wrap() -> None:
    """Nothing of a name of several pages is lost."""
    name = "x" * 5000
    buyer = replace(BUYER, legal_name="y" * 400, address="z" * 400)
    document = sample([charge(0, campaign=name, cost=Decimal("123456789012.1"))], terms=replace(TERMS, buyer=buyer))
    found = PdfReader(BytesIO(drawn(document)))
    text = "".join(page.extract_text() for page in found.pages)
    assert text.count("x") >= 5000
    assert text.count("y") >= 400
    assert "123,456,789,012.10" in text
    assert len(found.pages) > 2


def test_a_month_without_executions_says_so() -> None:
    """Its invoice is one page over nothing."""
    (page,) = pages(sample([]))
    assert "Nothing was used." in page
    assert "Total to pay EUR 0.00" in page
    assert "Nothing is to be paid." in page
    assert "By day" not in page


def test_a_credit_note_names_what_it_takes_back() -> None:
    """It has the credited invoice's number, the reason, and every amount below zero."""
    invoice = sample()
    note = credit(
        invoice, number="2027-000001", issued_at=ISSUED_AT, issue_date=date(2027, 1, 5), reason="Wrong <campaign>"
    )
    text = "\n".join(pages(note))
    assert "Credit note" in text
    assert "takes invoice 2026-000042 back" in " ".join(text.split())
    assert "Reason: Wrong <campaign>" in text
    assert amounts(text) == -invoice.net_amount
    assert f"Total credited EUR {-invoice.total_amount}" in text
    assert "Due" not in text


def test_each_page_of_a_draft_is_marked() -> None:
    """Nobody takes a draft for an invoice."""
    found = pages(long_sample(40, kind=InvoiceKind.DRAFT, number=""))
    assert len(found) > 2
    assert all("DRAFT" in page for page in found)
    assert "Draft invoice" in found[0]
    assert all("DRAFT" not in page for page in pages(sample()))


@pytest.mark.parametrize(
    ("currency", "amount", "rounding"), [("JPY", "0", "1"), ("EUR", "0.33", "0.01"), ("BHD", "0.333", "0.001")]
)
def test_amounts_have_their_currencys_digits(currency: str, amount: str, rounding: str) -> None:
    """The rounding difference is a line of its own, in whole minor units as all are."""
    costs = [Decimal(1) / 3] * 3
    document = sample(
        [charge(number, cost=round(cost, 9)) for number, cost in enumerate(costs)],
        currency=currency,
        terms=replace(TERMS, tax=Tax(category=TaxCategory.REVERSE_CHARGE, note="VAT is owed by the buyer.")),
    )
    said = words(document)
    assert f"4 Rounding difference {rounding}" in said
    assert f"Net amount {document.net_amount}" in said
    assert f"writer agents 40 77,240 16,080 {amount} " in said
    assert "Tax 0 %, reverse charge" in said
    assert "VAT is owed by the buyer." in said


def test_a_logo_is_drawn_and_a_broken_one_left_out() -> None:
    """The seller's name stands where a logo cannot be read."""
    out = BytesIO()
    Image.new("RGBA", (400, 100), (200, 30, 80, 128)).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    branded = drawn(sample(branding=Branding(accent="#ffee00", logo_base64=encoded)))
    assert len(PdfReader(BytesIO(branded)).pages[0].images) == 1
    for broken in (encoded[:80], "no base64", base64.b64encode(b"GIF89a").decode(), ""):
        assert logo(broken) is None
