"""Is a number lost when a process dies between adding a month up and giving it its number?"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import psycopg
import pytest

from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import NothingToInvoice
from gatekeeper.domain.invoices import Branding, InvoiceKind, Party
from gatekeeper.services.invoices import Invoices, Issued, Letterhead
from gatekeeper.storage.connections import open_pool
from tests.conftest import served_url

# A process that is killed as soon as it is about to write.
KILLED = """
import asyncio, os, signal, sys
from gatekeeper.services.invoices import Invoices
from tests.integration.test_invoice_crash import issue

async def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

Invoices._issue = killed
asyncio.run(issue(sys.argv[1], "acme", "2020-01"))
"""


async def issue(url: str, organization: str, period: str, *, empty_months: bool = True) -> Issued:
    """Issue a month's invoice in this process."""
    async with open_pool(url, name="test", size_max=2, hot=False) as pool:
        invoices = Invoices(
            reads=pool,
            writes=pool,
            database_url=url,
            letterhead=Letterhead(seller=Party(), branding=Branding()),
            audit_key=AuditKey(),
            empty_months=empty_months,
        )
        return await invoices.of_month(organization, period, SYSTEM)


def test_a_killed_process_takes_no_number_with_it(database_url: str) -> None:
    """Nothing was written; the same call again gets the first number, with the audit event beside it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO organizations (organization) VALUES ('acme')")
        url = served_url(database_url)
        killed = subprocess.run([sys.executable, "-c", KILLED, url], check=False, capture_output=True)
        assert killed.returncode == -9, killed.stderr
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (0,)
        issued = asyncio.run(issue(url, "acme", "2020-01"))
        assert (issued.document.kind, issued.document.number[4:]) == (InvoiceKind.INVOICE, "-000001")
        assert connection.execute("SELECT action FROM audit_events").fetchall() == [("INVOICE_ISSUED",)]
        with pytest.raises(NothingToInvoice):
            asyncio.run(issue(url, "acme", "2020-02", empty_months=False))
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (1,)
