"""What does an invoice say as FOCUS 1.2, and what do others read in it?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from focus_data_toolkit import Mode, convert_to_focus_1_4, detect_focus_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Party
from gatekeeper.domain.reservation import Attribution, Execution
from gatekeeper.invoicing.focus import CALL_SKU, COLUMNS, write
from tests.unit.billed import credit_note, execution, focus_charges, invoice, month
from tools.validate_focus import judged, stale

BERLIN = ZoneInfo("Europe/Berlin")
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")


def rows(document: InvoiceDocument, executions: Sequence[Execution]) -> list[dict[str, str]]:
    """Return what a reader finds in the file of an invoice."""
    out = io.BytesIO()
    write(document, focus_charges(executions), out, zone=BERLIN)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def total(found: Sequence[dict[str, str]], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in found), Decimal(0))


def test_others_know_it_as_focus() -> None:
    """The FOCUS toolkit takes it for Cost and Usage of 1.2, and makes 1.4 of it without complaint, of the same sum."""
    executions = month()
    document = invoice(executions)
    found = rows(document, executions)
    detected = detect_focus_schema(list(found[0]))
    assert (detected.dataset, detected.detected_version, detected.unknown_columns) == ("Cost and Usage", "1.2", ())
    converted = convert_to_focus_1_4([dict(row) for row in found], source_version="1.2", mode=Mode.STRICT)
    assert not converted.reports["Cost and Usage"].violations
    assert converted.bundle_report is not None
    assert not converted.bundle_report.diagnostics
    assert total(converted.datasets["Cost and Usage"], "BilledCost") == document.ledger_amount


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.decimals("-1000", "1000", places=9)), max_size=8))
def test_it_adds_up_to_the_ledger(entries: list[tuple[str, Decimal]]) -> None:
    """Each of the four costs adds up to the ledger's sum exactly, and a credit note's to the opposite."""
    executions = [
        execution(number, cost=f"{cost:f}", attribution=Attribution(department=name, campaign=name))
        for number, (name, cost) in enumerate(entries)
    ]
    document = invoice(executions)
    for column in COSTS:
        assert total(rows(document, executions), column) == document.ledger_amount
    assert total(rows(credit_note(document), executions), "BilledCost") == -document.ledger_amount


def test_days_begin_where_the_organization_is() -> None:
    """Periods are instants in UTC: a month of Berlin begins an hour early, and so does each day."""
    [row] = rows(invoice(), [execution()])
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-11-19T23:00:00Z", "2026-11-20T23:00:00Z")


def test_a_row_says_whose_calls_to_what() -> None:
    """Department, model and tags name it; calls are bought, tokens are used up, and amounts are decimals."""
    [row] = rows(invoice(), [execution()])
    assert (row["SubAccountId"], row["SkuId"], row["InvoiceId"]) == ("sales", "gpt-5", "2026-000007")
    assert (row["PricingQuantity"], row["PricingUnit"]) == ("1.0", "Requests")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("1200.0", "Tokens")
    tags = {"department": "sales", "campaign": "spring", "agent": "a1", "agent_type": "writer"}
    assert json.loads(row["Tags"]) == tags
    assert tuple(row) == COLUMNS


def test_a_sum_without_a_model_is_a_call() -> None:
    """Where a caller told a sum and no tokens, what was bought is a call, and no sub account is made up."""
    unnamed = execution(model="", input_tokens=0, output_tokens=0, attribution=Attribution())
    [row] = rows(invoice(), [unnamed])
    assert (row["SkuId"], row["ConsumedUnit"], row["SubAccountId"], row["Tags"]) == (CALL_SKU, "Requests", "", "{}")


def test_what_corrects_an_earlier_month_says_so() -> None:
    """Late rows and all of a credit note are corrections; the latter are billed in the month that it was written in."""
    executions = month()
    document = invoice(executions)
    found = rows(document, executions)
    assert {(row["ChargePeriodStart"][:7], row["ChargeClass"]) for row in found} >= {
        ("2026-11", ""),
        ("2026-10", "Correction"),
    }
    back = rows(credit_note(document), executions)
    assert {(row["ChargeClass"], row["BillingPeriodStart"]) for row in back} == {("Correction", "2026-12-31T23:00:00Z")}
    assert {row["InvoiceId"] for row in back} == {"2027-000001"}


def test_who_bills_is_always_named() -> None:
    """A draft has no invoice id, and where no seller is set, the organization bills itself."""
    [row] = rows(invoice(seller=Party(), buyer=Party(), kind=InvoiceKind.DRAFT), [execution()])
    assert (row["InvoiceId"], row["InvoiceIssuerName"], row["BillingAccountName"]) == ("", "acme", "acme")


def test_the_validator_is_held_against_what_is_known() -> None:
    """A failure that is not known is bad news; so is a report of few rules; one that is gone is said."""
    failing = '<testsuites tests="{}" skipped="300"><x><failure name="A-C-001-M"/></x></testsuites>'
    report, short = (etree.fromstring(failing.format(tests)) for tests in (500, 310))
    assert judged({"f": report}, {"A-C-001-M": "why"})[1] is False
    assert judged({"f": report}, {})[1] is True
    assert judged({"f": short}, {"A-C-001-M": "why"})[1] is True
    assert stale([report], {"A-C-001-M": "why"}) == []
    assert stale([report], {"B-C-001-M": "why"}) == ["B-C-001-M is known as a false failure, and passes: remove it"]
