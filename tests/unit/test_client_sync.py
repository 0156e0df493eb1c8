"""The blocking client on grpcio-testing's channel: the same calls, holds and errors as the asyncio one."""

from __future__ import annotations

import inspect
from concurrent.futures import Future
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

import grpc
import grpc_testing
import pytest

from gatekeeper_client import (
    AsyncClient,
    AsyncHold,
    BudgetDenied,
    Client,
    Conflict,
    Denied,
    Hold,
    Unavailable,
    to_money,
)
from gatekeeper_client.v1 import admin_service_pb2 as admin
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate
from gatekeeper_client.v1 import report_service_pb2 as report
from gatekeeper_client.v1.alert_pb2 import Alert
from gatekeeper_client.v1.invoice_pb2 import INVOICE_KIND_INVOICE, BillingProfile, Invoice
from gatekeeper_client.v1.override_pb2 import Override, OverrideUse
from gatekeeper_client.v1.reservation_pb2 import Denial, Reservation
from gatekeeper_client.v1.spend_pb2 import SPLIT_MODEL_EVEN, AttributedSpend, SplitRule, SplitShare, Statement

if TYPE_CHECKING:
    from collections.abc import Callable

GATE = gate.DESCRIPTOR.services_by_name["GatekeeperService"]
REPORT = report.DESCRIPTOR.services_by_name["ReportService"]
ADMIN = admin.DESCRIPTOR.services_by_name["AdminService"]
HELD = Reservation(reservation_id="job-1", organization="acme", amount=to_money("0.10"))
ADMITTED = gate.ReserveResponse(reservation=HELD)
NO = Denial(message="Campaign spring has 0.03 USD left in 2026-11; the call may cost 0.10 USD.")


class Program:
    """A program in a thread of its own, and the server's side of its channel."""

    def __init__(self) -> None:
        """Connect nobody yet."""
        self._channel: Any = grpc_testing.channel([GATE, REPORT, ADMIN], grpc_testing.strict_real_time())

    def runs(self, work: Callable[[Client], object]) -> Future[object]:
        """Start the program; its thread is a daemon, because a call that nobody answers never ends."""
        done: Future[object] = Future()
        Thread(target=self._run, args=(work, done), daemon=True).start()
        return done

    def _run(self, work: Callable[[Client], object], done: Future[object]) -> None:
        try:
            done.set_result(work(Client(channel=self._channel)))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            done.set_exception(error)

    def is_answered(self, rpc: str, response: object, code: grpc.StatusCode = grpc.StatusCode.OK) -> Any:
        """Wait for the program's call of an RPC, answer it, and return what it asked."""
        service = next(service for service in (GATE, REPORT, ADMIN) if rpc in service.methods_by_name)
        _, request, call = self._channel.take_unary_unary(service.methods_by_name[rpc])
        asked = type(request).FromString(request.SerializeToString())  # as it is now: the program goes on with its own
        call.send_initial_metadata(())
        call.terminate(response, (), code, "")
        return asked


@pytest.fixture
def program() -> Program:
    """Return a program that has not begun."""
    return Program()


def committed(client: Client) -> Decimal:
    """Reserve, commit, and return what was held."""
    with client.reserve("acme", amount="0.10") as hold:
        hold.commit(amount="0.07", outcome="FAILED")
    return hold.amount


def broken(client: Client) -> None:
    """Reserve, and fail."""
    with client.reserve("acme", amount="0.10"):
        raise ZeroDivisionError


def left_open(client: Client) -> None:
    """Reserve, and forget."""
    with client.reserve("acme", amount="0.10"):
        pass


def test_a_hold_is_committed(program: Program) -> None:
    """The commit names the organization and the reservation."""
    done = program.runs(committed)
    program.is_answered("Reserve", ADMITTED)
    commit = program.is_answered("Commit", gate.CommitResponse())
    assert (commit.organization, commit.reservation_id, commit.amount) == ("acme", "job-1", to_money("0.07"))
    assert done.result(30) == Decimal("0.10")


def test_a_block_that_fails_releases_its_hold(program: Program) -> None:
    """The exception comes through, the money goes back."""
    done = program.runs(broken)
    program.is_answered("Reserve", ADMITTED)
    assert program.is_answered("Release", gate.ReleaseResponse()).organization == "acme"
    with pytest.raises(ZeroDivisionError):
        done.result(30)


def test_a_failing_release_does_not_hide_the_blocks_exception(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the hold ends by itself."""
    done = program.runs(broken)
    program.is_answered("Reserve", ADMITTED)
    program.is_answered("Release", None, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(ZeroDivisionError):
        done.result(30)
    assert "job-1 could not be released" in caplog.text


def test_a_hold_whose_commit_failed_is_not_released(program: Program) -> None:
    """The cost was incurred, and may have been recorded: the error comes out with nothing in between."""
    done = program.runs(committed)
    program.is_answered("Reserve", ADMITTED)
    program.is_answered("Commit", None, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        done.result(30)


def test_a_hold_that_is_left_open_is_logged(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    """Money that may have been spent is not freed in silence."""
    done = program.runs(left_open)
    program.is_answered("Reserve", ADMITTED)
    done.result(30)
    assert "job-1 was neither committed nor released" in caplog.text


def test_a_denial_is_a_verdict_and_no_block(program: Program) -> None:
    """Looked at, it is a value; entered, it raises the server's sentence."""
    done = program.runs(lambda client: client.reserve("acme", amount="0.10"))
    program.is_answered("Reserve", gate.ReserveResponse(denial=NO))
    assert done.result(30) == Denied(denial=NO, budgets=())
    done = program.runs(left_open)
    program.is_answered("Reserve", gate.ReserveResponse(denial=NO))
    with pytest.raises(BudgetDenied, match=NO.message):
        done.result(30)


def test_an_error_has_its_type(program: Program) -> None:
    """Statuses become the same classes as with asyncio."""
    done = program.runs(lambda client: client.set_cap("acme", cap=5, etag="old"))
    assert program.is_answered("SetCap", None, grpc.StatusCode.ABORTED).etag == "old"
    with pytest.raises(Conflict):
        done.result(30)


def test_a_list_goes_over_all_pages(program: Program) -> None:
    """Entries come in order, each page asked for with the token of the one before."""
    done = program.runs(lambda client: [hold.reservation_id for hold in client.list_reservations("acme", state="HELD")])
    pages = [
        report.ListReservationsResponse(reservations=[HELD], next_page_token="b"),
        report.ListReservationsResponse(reservations=[HELD, HELD]),
    ]
    tokens = [program.is_answered("ListReservations", page).page_token for page in pages]
    assert done.result(30) == ["job-1"] * 3
    assert tokens == ["", "b"]


@pytest.mark.parametrize(("blocking", "asyncio"), [(Client, AsyncClient), (Hold, AsyncHold)])
def test_both_clients_take_the_same_keywords(blocking: type, asyncio: type) -> None:
    """Whoever knows one knows the other."""

    def keywords(kind: type) -> dict[str, list[inspect.Parameter]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        public = {name: method for name, method in methods if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters.values()) for name, method in public.items()}

    assert keywords(blocking) == keywords(asyncio)


def test_a_denial_tells_what_was_asked_for(program: Program) -> None:
    """The override that waits for an admin, and the floor of the call's priority; nothing where there is none."""
    done = program.runs(
        lambda client: client.reserve("acme", amount="0.10", priority="BATCH", override_request="the launch is today")
    )
    waiting = Override(override_id="o1", reservation_id="job-1")
    denial = Denial(floor_percent=90, requested_override=waiting)
    assert program.is_answered("Reserve", gate.ReserveResponse(denial=denial)).override_request == "the launch is today"
    verdict = done.result(30)
    assert isinstance(verdict, Denied)
    assert (verdict.requested_override, verdict.floor_percent) == (waiting, 90)
    plain = Denied(denial=NO, budgets=())
    assert (plain.requested_override, plain.floor_percent) == (None, None)


def test_a_hold_tells_its_override(program: Program) -> None:
    """What paid for a part beyond a cap is at hand; None where the budgets had room."""
    use = OverrideUse(override_id="o1", amount=to_money("0.04"), reservation_id="job-1")
    for override in (None, use):
        done = program.runs(lambda client: client.reserve("acme", amount="0.10"))
        held = Reservation(reservation_id="job-1", override=override)
        program.is_answered("Reserve", gate.ReserveResponse(reservation=held))
        hold = done.result(30)
        assert isinstance(hold, Hold)
        assert hold.override == override


def test_overrides_are_set_requested_and_listed(program: Program) -> None:
    """Each call goes to its RPC, and the answer comes back as it is."""
    override = Override(override_id="o1")
    done = program.runs(lambda client: client.set_override("acme", override_id="o1", enabled=False, reason="done"))
    answer = gate.SetOverrideResponse(override=override, ended=[override])
    assert not program.is_answered("SetOverride", answer).enabled
    assert done.result(30) == answer
    done = program.runs(lambda client: client.request_override("acme", max_amount=5, reason="launch"))
    assert program.is_answered("RequestOverride", gate.RequestOverrideResponse(override=override)).max_amount.units == 5
    done = program.runs(lambda client: list(client.list_overrides("acme", state="ACTIVE")))
    program.is_answered("ListOverrides", report.ListOverridesResponse(overrides=[override]))
    assert done.result(30) == [override]


def test_months_are_told(program: Program) -> None:
    """A statement, a split and a report: each by its RPC, and the answer comes back as it is."""
    statement = report.GetStatementResponse(statement=Statement(period="2026-10"))
    done = program.runs(lambda client: client.get_statement("acme", scope=("CAMPAIGN", "spring"), period="2026-10"))
    assert program.is_answered("GetStatement", statement).scope.id == "spring"
    assert done.result(30) == statement
    split = report.GetAttributedSpendResponse(entries=[AttributedSpend(id="spring")])
    rules = [SplitRule(label="pool", model=SPLIT_MODEL_EVEN, shares=[SplitShare(id="spring")])]
    done = program.runs(
        lambda client: client.get_attributed_spend("acme", scope_kind="CAMPAIGN", rules=rules, as_of=datetime.now(UTC))
    )
    assert list(program.is_answered("GetAttributedSpend", split).rules) == rules
    assert done.result(30) == split
    told = report.GetMonthlyReportResponse(period="2026-10", markdown="# Spend")
    done = program.runs(lambda client: client.get_monthly_report("acme", period="2026-10"))
    assert program.is_answered("GetMonthlyReport", told).period == "2026-10"
    assert done.result(30) == told


def test_alerts_are_tested_and_listed(program: Program) -> None:
    """A test's alert comes back, and is in the list."""
    alert = Alert(alert_id="a1")
    done = program.runs(lambda client: client.test_alerts("acme").alert)
    assert program.is_answered("TestAlerts", admin.TestAlertsResponse(alert=alert)).organization == "acme"
    assert done.result(30) == alert
    again = program.runs(lambda client: client.retry_alerts("acme").deliveries)
    assert program.is_answered("RetryAlerts", admin.RetryAlertsResponse(deliveries=2)).organization == "acme"
    assert again.result(30) == 2
    done = program.runs(lambda client: list(client.list_alerts("acme", delivery_state="DEAD")))
    program.is_answered("ListAlerts", report.ListAlertsResponse(alerts=[alert]))
    assert done.result(30) == [alert]


def list_spend(name: str, client: Client) -> list[Any]:
    """Return all that a list of spend has."""
    return list(getattr(client, f"list_{name}_spend")("acme", page_size=9))


def test_spend_is_told_and_listed(program: Program) -> None:
    """Each report goes to its RPC, of the month that is asked for, as of the time that is asked for."""
    as_of = datetime(2026, 11, 20, tzinfo=UTC)
    done = program.runs(lambda client: client.get_spend_summary("acme", period="2026-11", as_of=as_of).denials)
    request = program.is_answered("GetSpendSummary", report.GetSpendSummaryResponse(denials=3))
    assert (request.period, request.as_of.seconds) == ("2026-11", as_of.timestamp())
    assert done.result(30) == 3
    for name, rpc, field in (
        ("campaign", "ListCampaignSpend", "campaigns"),
        ("department", "ListDepartmentSpend", "departments"),
        ("agent", "ListAgentSpend", "agents"),
        ("model", "ListModelSpend", "models"),
    ):
        answer = getattr(report, f"{rpc}Response")(**{field: [{name: "x"}]})
        listed = program.runs(partial(list_spend, name))
        assert program.is_answered(rpc, answer).page_size == 9
        assert listed.result(30) == list(getattr(answer, field))
    organization = report.OrganizationInfo(organization="acme")
    found = program.runs(lambda client: list(client.list_organizations(organization="acme")))
    program.is_answered("ListOrganizations", report.ListOrganizationsResponse(organizations=[organization]))
    assert found.result(30) == [organization]


def test_invoices_are_listed_and_taken_back(program: Program) -> None:
    """By month and kind; a credit note comes back for a number and a reason."""
    invoice = Invoice(number="2026-000001")
    done = program.runs(lambda client: list(client.list_invoices("acme", period="2026-10", kind="INVOICE")))
    asked = program.is_answered("ListInvoices", report.ListInvoicesResponse(invoices=[invoice]))
    assert (asked.period, asked.kind) == ("2026-10", INVOICE_KIND_INVOICE)
    assert done.result(30) == [invoice]
    months = program.runs(lambda client: client.list_unbilled_periods("acme"))
    program.is_answered("ListInvoices", report.ListInvoicesResponse(unbilled_periods=["2026-09"]))
    assert months.result(30) == ["2026-09"]
    done = program.runs(lambda client: client.credit_invoice("acme", "2026-000001", reason="wrong").invoice)
    asked = program.is_answered("CreditInvoice", admin.CreditInvoiceResponse(invoice=invoice))
    assert (asked.number, asked.reason, done.result(30)) == ("2026-000001", "wrong", invoice)


def test_a_billing_profile_is_read_and_set(program: Program) -> None:
    """All of it, with why."""
    profile = BillingProfile(reference="PO 7")
    done = program.runs(lambda client: client.get_billing_profile("acme").profile)
    program.is_answered("GetBillingProfile", admin.GetBillingProfileResponse(profile=profile))
    assert done.result(30) == profile
    done = program.runs(lambda client: client.set_billing_profile("acme", profile, reason="new").profile)
    asked = program.is_answered("SetBillingProfile", admin.SetBillingProfileResponse(profile=profile))
    assert (asked.profile, asked.reason, done.result(30)) == (profile, "new", profile)
