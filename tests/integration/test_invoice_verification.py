"""Does verification pass on invoices that a server issued, and does it find each way in which they can be wrong?"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from gatekeeper import app
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.settings import load_settings
from gatekeeper_client import AsyncClient, AsyncHold
from tests.conftest import served_url, url_of, verify
from tests.integration.billed_books import move_a_month_back
from tests.integration.busy_books import Books, copied
from tests.integration.tamperings import tamper

REHASHED = "content_hash = sha256(convert_to({document}, 'UTF8'))"
DEARER = 'replace(document, \'"net_amount":"1.26"\', \'"net_amount":"1.27"\')'
FIRST, NOTE, ANEW = (f"number LIKE '%-00000{place}'" for place in (1, 2, 3))
TAMPERINGS = {
    "a document that was changed": (
        f"UPDATE invoices SET document = {DEARER} WHERE {ANEW}",
        "hash and document differ, those of invoice '.*-000003'",
    ),
    "a document that was changed, with its hash": (
        f"UPDATE invoices SET document = {DEARER}, {REHASHED.format(document=DEARER)} WHERE {ANEW}",
        "document and row differ, those of invoice '.*-000003'",
    ),
    "a document and its row": (
        f"UPDATE invoices SET document = {DEARER}, {REHASHED.format(document=DEARER)}, net_amount = 1.27 WHERE {ANEW}",
        "net amount and rounded cost of invoice .*: expected 1.26, found 1.27",
    ),
    "a document that is none": (
        f"UPDATE invoices SET document = '[', content_hash = sha256('[') WHERE {ANEW}",
        "a document that cannot be read",
    ),
    "a number that is left out": (f"DELETE FROM invoices WHERE {FIRST}", "invoices of 2.*: expected 4.00, found 3.00"),
    "a number that is another's": (
        f"UPDATE invoices SET number = '1999-000003' WHERE {ANEW}",
        "invoice '1999-000003' is not what its place is called",
    ),
    "an execution that is lost": ("DELETE FROM executions", "executions on invoice .*: expected 0.00, found 1.255"),
    "an execution of another cost": (
        "UPDATE executions SET cost = cost + 0.000000001",
        "executions on invoice '.*-000003': expected 1.255000001, found 1.255",
    ),
    "a credit note over less": (f"UPDATE invoices SET net_amount = -1 WHERE {NOTE}", "net amount of credit note"),
    "a credit note that is lost": (
        f"UPDATE invoices SET credited_number = 'x' WHERE {NOTE}",
        "months with two invoices: .*: expected 1.00, found 2.00",
    ),
    "spans that overlap": (
        "UPDATE invoice_spans SET period = (SELECT max(period) FROM invoices) WHERE number LIKE '%-000004'",
        "invoices '.*-000003' and '.*-000004' share executions of",
    ),
    "spans of nobody": (f"UPDATE invoice_spans SET number = 'x' WHERE {ANEW}", "spans of an invoice that does not"),
    "a file that was changed": ("UPDATE invoice_files SET content = ''", "a file that does not fit its hash"),
    "a file of nobody": ("UPDATE invoice_files SET number = 'x'", "a file of an invoice that does not exist, 'x'"),
}


async def make_invoices(url: str, folder: Path) -> None:
    """Issue an invoice, take it back, issue it anew, and one over nothing."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = load_settings(
        database_url=served_url(url), listen=("127.0.0.1:0",), insecure=True, logs_dir=folder, alert_log=False
    )
    serving = asyncio.create_task(app.serve(settings, stop, lambda running: started.set_result(running.addresses[0])))
    await asyncio.wait((started, serving), return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
    async with AsyncClient(started.result()) as client:
        hold = await client.reserve("acme", amount="1.255", campaign="spring")
        assert isinstance(hold, AsyncHold)
        await hold.commit(amount="1.255")
        month, before = hold.reservation.month, ""
        move_a_month_back(url)
        with psycopg.connect(url) as connection:
            ((month, before),) = connection.execute(
                "SELECT month, to_char((month || '-01')::date - interval '1 month', 'YYYY-MM') FROM executions"
            ).fetchall()
        exported = [each async for each in client.export_invoice("acme", period=month, formats=["JSON"])]
        await client.credit_invoice("acme", exported[0].invoice.number, reason="wrong buyer")
        for period in (month, before):
            assert [each async for each in client.export_invoice("acme", period=period)]
    stop.set()
    await serving


@pytest.fixture(scope="module")
def books(postgres: EmbeddedPostgres, template: str) -> Iterator[Books]:
    """Make invoices once; nobody writes to them afterwards."""
    with copied(postgres, template) as name, tempfile.TemporaryDirectory() as folder:
        asyncio.run(make_invoices(url_of(postgres, name), Path(folder)))
        yield Books(server=postgres, name=name)


def test_invoices_pass(books: Books) -> None:
    """What a server issued has no difference."""
    with books.copy() as url:
        assert verify(url) == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(books: Books, name: str) -> None:
    """Whatever is changed behind the server's back is told as one line that names the invoice."""
    statement, expected = TAMPERINGS[name]
    with books.copy() as url:
        tamper(url, statement)
        lines = verify(url)
    assert any(re.search(expected, line) for line in lines), lines


def test_a_server_cannot_change_what_it_issued(books: Books) -> None:
    """Its role may neither change nor remove an invoice, its spans or its files; nor may the owner by accident."""
    with books.copy() as url:
        for whose in (served_url(url), url):
            with psycopg.connect(whose, autocommit=True) as connection:
                for table in ("invoices", "invoice_spans", "invoice_files"):
                    for statement in (f"UPDATE {table} SET number = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                        with pytest.raises(InsufficientPrivilege):
                            connection.execute(statement.encode())
