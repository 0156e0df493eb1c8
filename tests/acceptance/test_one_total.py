"""Do all accounts of a month show one total? Files of the invoice, reports, the ledger, on real calls."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pypdf import PdfReader

from gatekeeper.domain.money import plain
from tests.acceptance.commands import run
from tests.acceptance.replaying import ORGANIZATION, replay_through
from tests.conftest import Server, ServerFactory

# A clock that goes on from wherever it is set, so that calls of past months can be replayed.
SHIFTED_CLOCK = """
CREATE SCHEMA fake;
CREATE TABLE fake.clock (shift interval NOT NULL);
INSERT INTO fake.clock VALUES ('0');
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + shift FROM fake.clock';
GRANT USAGE ON SCHEMA fake TO gatekeeper_server;
GRANT SELECT ON fake.clock TO gatekeeper_server;
"""
SEARCH_PATH = "?options=-csearch_path%3Dfake,public,pg_catalog"
FORMATS = ("pdf", "csv", "csv-lines", "focus", "json")
LISTS = ("campaigns", "departments", "agents", "models")


class Books:
    """A server's books, in a time that is set."""

    def __init__(self, server: Server, url: str) -> None:
        """Ask this server; look into its database at `url`."""
        self.server = server
        self.url = url

    def set_day(self, day: date) -> None:
        """Let it be noon of a day."""
        shift = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - datetime.now(UTC)
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE fake.clock SET shift = %s", (shift,))

    def cost(self, period: str) -> Decimal:
        """Return what the billing log itself says that a month has cost."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT sum(cost) FROM executions WHERE month = %s", (period,)).fetchone()
        assert row is not None
        return Decimal(row[0])

    def told(self, *command: str) -> Any:
        """Return what a command tells of the organization."""
        done = run(*command, "--organization", ORGANIZATION, "--target", self.server.address, "--json")
        assert (done.code, done.err) == (0, "")
        return done.document


@pytest.fixture
def books(start_server: ServerFactory, database_url: str) -> Books:
    """Start a server whose time is set."""
    with psycopg.connect(database_url) as connection:
        connection.execute(SHIFTED_CLOCK)
    server = start_server(
        database_url=database_url + SEARCH_PATH, MAX_MONTHLY_BUDGET="1000000", GATEKEEPER_SELLER_NAME="Example Ltd"
    )
    return Books(server, database_url)


def halves(trace: Path, folder: Path, count: int | None) -> tuple[Path, Path]:
    """Write two files with half of the calls each, or of `count` of them, evenly chosen."""
    with gzip.open(trace, "rt") as file:
        head, *calls = file.readlines()
    calls = calls[:: len(calls) // count] if count else calls
    middle = len(calls) // 2
    first, second = folder / "first.csv", folder / "second.csv"
    first.write_text("".join([head, *calls[:middle]]))
    second.write_text("".join([head, *calls[middle:]]))
    return first, second


def sum_of(path: Path, column: str) -> Decimal:
    """Sum up a column of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return sum((Decimal(row[column]) for row in csv.DictReader(file)), Decimal(0))


def file_totals(folder: Path, number: str) -> dict[str, Decimal]:
    """Return the exact total that each file of an invoice shows."""
    found = {next(name for name in FORMATS if _is_of(path, name)): path for path in folder.iterdir()}
    assert set(found) == set(FORMATS)
    invoice = json.loads(found["json"].read_text())
    text = "".join(page.extract_text() for page in PdfReader(found["pdf"]).pages)
    assert number in text
    exact = Decimal(invoice["ledger_amount"])
    whole, _, fraction = plain(exact).partition(".")
    return {
        "json": exact,
        "pdf": exact if f" {int(whole):,}.{fraction}" in text else Decimal(-1),
        "csv": sum_of(found["csv"], "cost"),
        "csv-lines": sum_of(found["csv-lines"], "cost"),
        "focus": sum_of(found["focus"], "BilledCost"),
    }


def _is_of(path: Path, name: str) -> bool:
    if name in {"pdf", "json"}:
        return path.suffix == f".{name}"
    kind = next((kind for kind in ("focus", "lines") if kind in path.name), "csv")
    return path.suffix == ".csv" and name == {"focus": "focus", "lines": "csv-lines", "csv": "csv"}[kind]


@pytest.mark.parametrize(
    "count", [240, pytest.param(None, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])], ids=["some", "all"]
)
def test_every_account_shows_one_total(books: Books, trace: Path, tmp_path: Path, count: int | None) -> None:
    """PDF, CSV, FOCUS, JSON, summary, lists and verification agree on two months of calls, to the last nano."""
    today = datetime.now(UTC).date().replace(day=15)
    last = today.replace(day=1) - timedelta(days=16)
    before = last.replace(day=1) - timedelta(days=1)
    for day, calls in zip((before, last), halves(trace, tmp_path, count), strict=True):
        books.set_day(day)
        ended = replay_through(books.server, calls, "--departments", "2", "--ttl", "2")
        assert (ended.code, ended.errors) == (0, "")
    books.set_day(today)
    for number, day in enumerate((before, last), 1):
        period = f"{day:%Y-%m}"
        folder = tmp_path / period
        options = [option for name in FORMATS for option in ("--format", name)]
        invoice = books.told("invoice", period, *options, "--output", str(folder))
        assert invoice["number"].endswith(f"-{number:06d}")
        spent = books.cost(period)
        assert spent > 0
        assert Decimal(invoice["ledger_amount"]) == spent
        assert file_totals(folder, invoice["number"]) == dict.fromkeys(FORMATS, spent)
        summary = books.told("spend", "summary", period)
        assert Decimal(summary["spend"]["cost"]) == spent
        assert sum(Decimal(each["cost"]) for each in summary["days"]) == spent
        for name in LISTS:
            assert sum(Decimal(each["cost"]) for each in books.told("spend", name, period)[name]) == spent
        assert len(books.told("spend", "campaigns", period)["campaigns"]) == 4
        assert len(books.told("spend", "departments", period)["departments"]) == 2
        statement = books.told("statement", period)
        assert -Decimal(statement["commits"]["amount"]) == spent
    books.told("report", f"{last:%Y-%m}")
    assert run("verify", "--database-url", books.url).code == 0
