"""Does the command line issue invoices that are whole, once, whatever happens to the files?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper_client import Client, Hold
from gatekeeper_client.v1.report_service_pb2 import OrganizationInfo
from tests.acceptance.commands import Done, failed, refused, run
from tests.conftest import ServerFactory
from tests.integration.billed_books import move_a_month_back


@pytest.fixture
def at(start_server: ServerFactory, database_url: str) -> dict[str, str]:
    """Return the environment that names a server; two organizations have spent something in the last month."""
    server = start_server(database_url=database_url, GATEKEEPER_SELLER_NAME="Gate & Co")
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    with Client(server.address) as client:
        for organization in ("acme", "be/ta"):
            hold = client.reserve(organization, amount="1.255", campaign="spring")
            assert isinstance(hold, Hold)
            hold.commit(amount="1.255")
    move_a_month_back(database_url)
    return at


@contextmanager
def seeing(*organizations: str) -> Iterator[None]:
    """Let the caller see these."""
    found = [OrganizationInfo(organization=name, time_zone="UTC") for name in organizations]
    with mock.patch.object(Client, "list_organizations", return_value=found):
        yield


def document(done: Done) -> Any:
    assert (done.code, done.err) == (0, "")
    return done.document


def test_a_month_from_its_draft_to_its_credit_note(at: dict[str, str], tmp_path: Path) -> None:
    """A draft issues nothing; the same command twice gives the same bytes; a credit note takes them back."""
    folder = tmp_path / "invoices"
    json_to = ("--format", "json", "--output", str(folder))
    draft = document(run("invoice", "--draft", *json_to, "--json", **at))
    assert (draft["kind"], draft["number"], draft["total_amount"]) == ("DRAFT", "", "1.26")
    told = run("invoice", "--list", **at).out.splitlines()
    assert told == ["Nothing was issued.", f"Over, with executions, and not billed: {draft['period']}."]
    profile = document(
        run("billing", "--legal-name", "Acme GmbH", "--tax-category", "standard", "--tax-rate", "19", "--json", **at)
    )
    assert (profile["tax_category"], profile["payment_days"]) == ("STANDARD", 30)
    # A full disk leaves no half file, and the number is not lost.
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        assert "No space left on device. The invoice stands" in failed(run("invoice", *json_to, **at))
    assert [path.name[:5] for path in folder.iterdir()] == ["draft"]
    issued = document(run("invoice", *json_to, "--json", **at))
    assert issued["number"].endswith("-000001")
    (path,) = issued["files"]
    first = Path(path).read_bytes()
    assert (issued["net_amount"], issued["tax_amount"], issued["total_amount"]) == ("1.26", "0.24", "1.50")
    assert json.loads(first)["seller"]["legal_name"] == "Gate & Co"
    again = run("invoice", issued["period"], *json_to, **at)
    assert again.out.splitlines()[0].startswith(
        f"Invoice {issued['number']} of 'acme' for {issued['period']}: 1.50 USD"
    )
    assert (again.out.splitlines()[1:], Path(path).read_bytes()) == ([path], first)
    note = document(run("invoice", "--credit", issued["number"], "--reason", "wrong buyer", *json_to, "--json", **at))
    assert (note["kind"], note["total_amount"], note["credited_number"]) == ("CREDIT_NOTE", "-1.50", issued["number"])
    assert Path(note["files"][0]).name == f"credit-note-{note['number']}.json"
    shown = document(run("invoice", "--list", "--json", **at))
    listed = shown["invoices"]
    assert shown["unbilled_periods"] == [issued["period"]]
    assert [each["number"] for each in listed] == [note["number"], issued["number"]]
    assert listed[1]["credit_note_number"] == note["number"]
    anew = document(run("invoice", *json_to, "--json", **at))
    assert anew["number"].endswith("-000003")
    assert {path.name[0] for path in folder.iterdir()} == {"i", "c", "d"}
    assert "no organization 'nobody'" in failed(run("invoice", "--organization", "nobody", **at))
    assert "has not begun" in failed(run("invoice", "2999-01", **at))
    assert "no invoice '1'" in failed(run("invoice", "--number", "1", **at))
    assert "only STANDARD has a rate" in refused(run("billing", "--tax-category", "zero", "--tax-rate", "19", **at))


@pytest.mark.filterwarnings("ignore:'imghdr'")
def test_the_monthly_job(at: dict[str, str], tmp_path: Path) -> None:
    """It goes on after a failure and exits with 1; run again, it changes nothing."""
    job = ("invoice", "--all", "--format", "json", "--output", str(tmp_path))
    with seeing("acme", "gone", "be/ta"):
        done = run(*job, "--json", **at)
    assert done.code == 1
    assert done.err.startswith("gatekeeper: 'gone': There is no organization 'gone'.")
    assert [each["organization"] for each in done.document["invoices"]] == ["acme", "be/ta"]
    assert [each["organization"] for each in done.document["failed"]] == ["gone"]
    files = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert {path.parts[0] for path in files} == {"acme", "be%2Fta"}
    with seeing("acme", "be/ta"):
        assert run(*job, **at).code == 0
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    _sends_once(at, tmp_path)


def test_the_monthly_job_makes_up_for_months_that_were_missed(
    at: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    """The oldest first, then the last month if the organization was open then; a month that is named comes alone."""
    with Client(at["BILLING_API_URL"]) as client:
        for spent_again in (True, False):
            move_a_month_back(database_url)
            if spent_again:
                hold = client.reserve("acme", amount="2")
                assert isinstance(hold, Hold)
                hold.commit(amount="2")
    job = ("invoice", "--all", "--format", "json", "--output", str(tmp_path), "--json")
    last = document(run("invoice", "--draft", "--format", "json", "--output", str(tmp_path), "--json", **at))["period"]
    with seeing("acme"):
        assert document(run("invoice", "--list", "--json", **at))["unbilled_periods"][1] == last
        older = document(run("invoice", "--list", "--json", **at))["unbilled_periods"][0]
        with mock.patch("os.fsync", side_effect=[OSError(28, "No space left on device"), None]):
            done = run(*job, **at)
        assert (done.code, done.document["failed"][0]["period"]) == (1, older)
        assert [each["period"] for each in done.document["invoices"]] == [last]
        assert done.document["invoices"][0]["number"].endswith("-000002")
        again = document(run(*job, **at))["invoices"]
        assert [each["number"] for each in again] == [each["number"] for each in done.document["invoices"]]
        (named,) = document(run(*job, older, **at))["invoices"]
        assert (named["period"], named["number"][4:], len(named["files"])) == (older, "-000001", 1)
    # Opened this month, whatever it has in the books of earlier ones.
    with Client(at["BILLING_API_URL"]) as client:
        client.set_cap("fresh", cap="1")
    opened = Timestamp()
    opened.GetCurrentTime()
    fresh = OrganizationInfo(organization="fresh", time_zone="Asia/Tokyo", create_time=opened)
    with mock.patch.object(Client, "list_organizations", return_value=[fresh]):
        assert document(run(*job, **at))["invoices"] == []


def _sends_once(at: dict[str, str], tmp_path: Path) -> None:
    """Check that the PDF goes to each URL of a private file once, and that what was not taken is tried again."""
    urls = tmp_path / "urls"
    urls.touch(0o600)
    urls.write_text("# accounting\njson://127.0.0.1:9/secret\n")
    job = ("invoice", "--output", str(tmp_path), "--apprise-file", str(urls))
    sent: list[dict[str, Any]] = []

    def notify(_self: object, **message: Any) -> bool:
        sent.append(message)
        return len(sent) > 1

    pdf = mock.patch("gatekeeper_client.Client.export_invoice", _as_pdf(Client.export_invoice))
    with pdf, mock.patch("apprise.Apprise.notify", notify):
        done = run(*job, **at)
        assert "could not be sent to everybody" in failed(done)
        assert "secret" not in done.err
        assert [run(*job, **at).code for _ in range(2)] == [0, 0]
    assert [Path(message["attach"]).suffix for message in sent] == [".pdf", ".pdf"]
    assert sent[0]["title"].endswith(": 1.26 USD")


def _as_pdf(export: Any) -> Any:
    """Let a JSON stand for the PDF, which is rendered elsewhere."""

    def exported(client: Client, organization: str, **which: Any) -> Iterator[Any]:
        for response in export(client, organization, **(which | {"formats": ["JSON"]})):
            if response.HasField("chunk"):
                response.chunk.filename = response.chunk.filename.replace(".json", ".pdf")
            yield response

    return exported


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["2026-13"], "'2026-13' is not a month"),
        (["--format", "docx"], "'docx' is none of pdf, csv, csv-lines, focus, json, ubl, cii, factur-x"),
        (["--all", "--number", "1"], "takes no --number"),
        (["--credit", "2026-000001"], "goes with --credit"),
        (["--reason", "why"], "goes with --credit"),
        (["--apprise-file", "urls", "--draft"], "no --draft"),
        (["--apprise-file", "nowhere"], "nowhere: No such file"),
        (["--list", "--draft"], "takes no --number"),
        (["--list", "--format", "csv"], "takes no --number, --credit, --draft or --format"),
        (["--number", "2026-000001", "--draft"], "takes no --draft"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str) -> None:
    """Before anybody is asked, with the option that is wrong."""
    assert told in refused(run("invoice", "--organization", "acme", *arguments, BILLING_API_URL="127.0.0.1:9"))
