"""The asyncio client against a real server that plays a script: what is sent, retried, released and raised."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money
from grpc_status import rpc_status

from gatekeeper_client import (
    AsyncClient,
    AsyncHold,
    BudgetDenied,
    Denied,
    GatekeeperError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
    to_money,
)
from gatekeeper_client.v1 import admin_service_pb2 as admin
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate
from gatekeeper_client.v1 import report_service_pb2 as report
from gatekeeper_client.v1.alert_pb2 import Alert
from gatekeeper_client.v1.budget_pb2 import BUDGET_WINDOW_DAY, Budget, BudgetStatus
from gatekeeper_client.v1.override_pb2 import Override, OverrideUse
from gatekeeper_client.v1.reservation_pb2 import Denial, Reservation
from gatekeeper_client.v1.spend_pb2 import AttributedSpend, Statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

pytestmark = pytest.mark.anyio
EXPIRY = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)
NO = Denial(message="Campaign spring has 0.03 USD left in 2026-11; the call may cost 0.10 USD.")
RAISED = Reservation(reservation_id="job-1", organization="acme", amount=to_money("0.20"))
USUAL: dict[str, Any] = {
    "Reserve": gate.ReserveResponse(),
    "Commit": gate.CommitResponse(late=True),
    "Release": gate.ReleaseResponse(),
    "Extend": gate.ExtendResponse(reservation=RAISED),
    "GetStatus": gate.GetStatusResponse(can_execute=True),
    "SetCap": gate.SetCapResponse(budget=Budget(etag="2")),
    "SetOverride": gate.SetOverrideResponse(override=Override(override_id="o1")),
    "RequestOverride": gate.RequestOverrideResponse(override=Override(override_id="o2")),
    "TestAlerts": admin.TestAlertsResponse(alert=Alert(alert_id="a1")),
    "RetryAlerts": admin.RetryAlertsResponse(deliveries=2),
    "ListBudgets": report.ListBudgetsResponse(),
    "ListOverrides": report.ListOverridesResponse(overrides=[Override(override_id="o1")]),
    "ListAlerts": report.ListAlertsResponse(alerts=[Alert(alert_id="a1")]),
    "GetStatement": report.GetStatementResponse(statement=Statement(period="2026-10")),
    "GetAttributedSpend": report.GetAttributedSpendResponse(entries=[AttributedSpend(id="spring")]),
    "GetMonthlyReport": report.GetMonthlyReportResponse(markdown="# Spend"),
}


class Script(grpc.GenericRpcHandler):
    """A server that answers with its next line, or else as if all went well, and keeps what it was asked."""

    def __init__(self) -> None:
        """Begin without lines."""
        self.asked: list[Any] = []
        self.metadata: list[tuple[str, str | bytes]] = []
        self.lines: list[Message | Status] = []
        self.release_asked, self.release_may_end, self.release_ended = (asyncio.Event() for _ in range(3))
        self.release_may_end.set()

    def asked_for(self, rpc: str) -> list[Any]:
        """Return the requests of one RPC."""
        return [request for request in self.asked if type(request).__name__ == f"{rpc}Request"]

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Play every RPC of the contract."""
        rpc = details.method.rpartition("/")[2]
        module = next(module for module in (gate, report, admin) if hasattr(module, f"{rpc}Request"))
        deserializer = getattr(module, f"{rpc}Request").FromString
        return grpc.unary_unary_rpc_method_handler(self.play, deserializer, type(USUAL[rpc]).SerializeToString)

    async def play(self, request: Any, context: Any) -> Any:
        """Keep a request and answer it."""
        rpc = type(request).__name__.removesuffix("Request")
        self.asked.append(request)
        self.metadata = list(context.invocation_metadata())
        line = self.lines.pop(0) if self.lines else USUAL[rpc]
        if isinstance(line, Status):
            await context.abort_with_status(rpc_status.to_status(line))
        if rpc == "Release":
            self.release_asked.set()
            await self.release_may_end.wait()
            self.release_ended.set()
        return admitted(request) if line is USUAL["Reserve"] else line


def admitted(request: gate.ReserveRequest) -> gate.ReserveResponse:
    """Return the hold that was asked for."""
    hold = Reservation(reservation_id=request.reservation_id, organization=request.organization, amount=request.amount)
    hold.expire_time.FromDatetime(EXPIRY)
    return gate.ReserveResponse(reservation=hold, budgets=[BudgetStatus(period="2026-11")])


def failure(code: grpc.StatusCode, *details: Message) -> Status:
    """Return a line that refuses."""
    status = Status(code=code.value[0], message="no verdict")
    for detail in details:
        status.details.append(AnyMessage())
        status.details[-1].Pack(detail)
    return status


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio, which grpc.aio is made for."""
    return "asyncio"


@pytest.fixture
async def script() -> Script:
    """Return an empty script: all goes well."""
    return Script()


@pytest.fixture
async def target(script: Script) -> AsyncIterator[str]:
    """Play the script on a free port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((script,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def client(target: str) -> AsyncIterator[AsyncClient]:
    """Return a client of the scripted server."""
    async with AsyncClient(target) as client:
        yield client


async def test_long_reports_arrive(client: AsyncClient, script: Script) -> None:
    """An answer may be longer than the 4 MB that gRPC takes by itself."""
    script.lines = [report.GetMonthlyReportResponse(markdown="row\n" * 2_000_000)]
    assert len((await client.get_monthly_report("acme")).markdown) == 8_000_000


async def test_an_admitted_call_is_a_hold(client: AsyncClient, script: Script) -> None:
    """The verdict carries Decimals and aware times, and can be matched."""
    verdict = await client.reserve("acme", campaign="spring", amount="0.10", ttl=60)
    match verdict:
        case AsyncHold(admitted=True, amount=amount, expires_at=expires_at, budgets=budgets):
            assert (amount, expires_at, len(budgets)) == (Decimal("0.10"), EXPIRY, 1)
        case _:
            pytest.fail("not admitted")
    (asked,) = script.asked
    assert asked == gate.ReserveRequest(
        reservation_id=verdict.reservation_id,
        organization="acme",
        campaign="spring",
        amount=Money(nanos=100_000_000),
        ttl={"seconds": 60},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_server_that_comes_back_is_asked_again_under_the_same_id(
    client: AsyncClient, script: Script, code: grpc.StatusCode
) -> None:
    """Two refusals and a yes are one reservation."""
    script.lines = [failure(code), failure(code)]
    verdict = await client.reserve("acme", amount=1)
    assert verdict.admitted
    assert [request.reservation_id for request in script.asked_for("Reserve")] == [verdict.reservation_id] * 3


async def test_retries_end(client: AsyncClient, script: Script) -> None:
    """After five tries the caller decides."""
    script.lines = [failure(grpc.StatusCode.RESOURCE_EXHAUSTED)] * 9
    with pytest.raises(Overloaded):
        await client.get_status("acme")
    assert len(script.asked) == 5


async def test_a_malformed_request_is_sent_once(client: AsyncClient, script: Script) -> None:
    """It fails again anyway; the error names the field."""
    violation = BadRequest.FieldViolation(field="organization", description="is required")
    script.lines = [failure(grpc.StatusCode.INVALID_ARGUMENT, BadRequest(field_violations=[violation]))]
    with pytest.raises(InvalidRequest, match="organization: is required") as caught:
        await client.get_status("")
    assert caught.value.field_violations == (violation,)
    assert len(script.asked) == 1


async def test_a_denial_is_a_verdict_when_awaited(client: AsyncClient, script: Script) -> None:
    """Nothing is raised; the denial is there to look at."""
    script.lines = [gate.ReserveResponse(denial=NO, budgets=[BudgetStatus(period="2026-11")])]
    verdict = await client.reserve("acme", amount="0.10")
    assert not verdict.admitted
    assert verdict == Denied(denial=NO, budgets=(BudgetStatus(period="2026-11"),))


async def test_a_denial_keeps_a_block_from_being_entered(client: AsyncClient, script: Script) -> None:
    """BudgetDenied says the server's sentence, and there is nothing to release."""
    script.lines = [gate.ReserveResponse(denial=NO)]
    with pytest.raises(BudgetDenied) as caught:
        async with client.reserve("acme", amount="0.10"):
            pytest.fail("entered")
    assert (str(caught.value), caught.value.denial) == (NO.message, NO)
    assert not script.asked_for("Release")


async def test_a_commit_ends_the_hold(client: AsyncClient, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """Its response comes back, it names the organization, and nothing is released or logged."""
    async with client.reserve("acme", amount="0.10") as hold:
        assert (await hold.commit(amount="0.07", outcome="SUCCEEDED", quality_score=88)).late
    (commit,) = script.asked_for("Commit")
    assert (commit.organization, commit.reservation_id) == ("acme", hold.reservation_id)
    assert (commit.amount, commit.metrics.quality_score) == (to_money("0.07"), 88)
    assert not script.asked_for("Release")
    assert not caplog.records


async def broken(client: AsyncClient, *steps: Callable[[AsyncHold], Awaitable[object]]) -> None:
    """Reserve, take the steps, and fail."""
    async with client.reserve("acme", amount="0.10") as hold:
        for step in steps:
            await step(hold)
        raise ZeroDivisionError


async def test_a_block_that_fails_releases_its_hold_once(client: AsyncClient, script: Script) -> None:
    """The exception comes through, the money goes back."""
    with pytest.raises(ZeroDivisionError):
        await broken(client)
    (reserve,), (release,) = script.asked_for("Reserve"), script.asked_for("Release")
    assert (release.organization, release.reservation_id) == ("acme", reserve.reservation_id)


async def test_a_released_hold_is_not_released_again(client: AsyncClient, script: Script) -> None:
    """Whoever releases in the block has done it."""
    with pytest.raises(ZeroDivisionError):
        await broken(client, AsyncHold.release)
    assert len(script.asked_for("Release")) == 1


async def test_a_committed_hold_is_not_released(client: AsyncClient, script: Script) -> None:
    """What fails after the commit does not undo it."""
    with pytest.raises(ZeroDivisionError):
        await broken(client, lambda hold: hold.commit(amount="0.07"))
    assert [type(request).__name__ for request in script.asked] == ["ReserveRequest", "CommitRequest"]


@pytest.mark.parametrize("code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INTERNAL])
async def test_a_hold_whose_commit_failed_is_not_released(
    client: AsyncClient, script: Script, code: grpc.StatusCode
) -> None:
    """The cost was incurred, and may have been recorded."""
    script.lines = [admitted(gate.ReserveRequest(reservation_id="job-1")), failure(code)]
    with pytest.raises(GatekeeperError):
        await broken(client, lambda hold: hold.commit(amount="0.07"))
    assert not script.asked_for("Release")


async def test_a_hold_that_is_left_open_stays_and_is_logged(
    client: AsyncClient, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """Money that may have been spent is not freed in silence."""
    async with client.reserve("acme", amount="0.10", reservation_id="job-1"):
        pass
    assert not script.asked_for("Release")
    warning = (
        "Reservation job-1 was neither committed nor released: its money stays held until 2026-11-20 12:10:00+00:00."
    )
    assert caplog.record_tuples == [("gatekeeper_client", logging.WARNING, warning)]


async def test_a_failing_release_does_not_hide_the_blocks_exception(
    client: AsyncClient, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the hold ends by itself."""
    script.lines = [admitted(gate.ReserveRequest(reservation_id="job-1")), failure(grpc.StatusCode.NOT_FOUND)]
    with pytest.raises(ZeroDivisionError):
        await broken(client)
    (record,) = caplog.records
    assert "could not be released" in record.message
    assert record.exc_info is not None
    assert record.exc_info[0] is NotFound


async def cancelled_in_block(client: AsyncClient) -> asyncio.Task[None]:
    """Return a task that was cancelled inside its block."""
    inside = asyncio.Event()

    async def work() -> None:
        async with client.reserve("acme", amount="0.10"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    return task


async def test_a_cancelled_block_releases_its_hold(client: AsyncClient, script: Script) -> None:
    """The task ends as cancelled, after the money went back."""
    task = await cancelled_in_block(client)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert script.release_ended.is_set()


async def test_another_cancellation_does_not_stop_the_release(client: AsyncClient, script: Script) -> None:
    """The task ends at once, the release goes on without it."""
    script.release_may_end.clear()
    task = await cancelled_in_block(client)
    await script.release_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not script.release_ended.is_set()
    script.release_may_end.set()
    await asyncio.wait_for(script.release_ended.wait(), 30)


async def test_extending_moves_the_hold(client: AsyncClient, script: Script) -> None:
    """A yes changes the hold, a no leaves it as it was."""
    async with client.reserve("acme", amount="0.10") as hold:
        assert await hold.extend(amount="0.20", ttl=60) is hold
        script.lines = [gate.ExtendResponse(denial=NO)]
        assert await hold.extend(amount=5) == Denied(denial=NO, budgets=())
        assert hold.amount == Decimal("0.20")
        await hold.release()
    first, second = script.asked_for("Extend")
    assert (first.organization, first.amount, first.ttl.seconds) == ("acme", to_money("0.20"), 60)
    assert (second.organization, second.HasField("ttl")) == ("acme", False)


async def test_a_list_is_asked_for_page_by_page(client: AsyncClient, script: Script) -> None:
    """Each page is fetched when it is reached, with the token of the one before; an empty page ends nothing."""
    script.lines = [
        report.ListBudgetsResponse(budgets=[Budget(etag="1"), Budget(etag="2")], next_page_token="b"),
        report.ListBudgetsResponse(next_page_token="c"),
        report.ListBudgetsResponse(budgets=[Budget(etag="3")]),
    ]
    budgets = client.list_budgets("acme", scope_kind="CAMPAIGN", page_size=2)
    assert not script.asked
    assert (await anext(budgets)).etag == "1"
    assert len(script.asked) == 1
    assert [budget.etag async for budget in budgets] == ["2", "3"]
    assert len(script.asked) == 3


async def test_a_cap_is_set(client: AsyncClient, script: Script) -> None:
    """The response has the budget as it is now."""
    assert (await client.set_cap("acme", scope=("CAMPAIGN", "spring"), cap=250, window="DAY")).budget.etag == "2"
    (request,) = script.asked
    assert (request.scope.id, request.cap.units, request.window) == ("spring", 250, BUDGET_WINDOW_DAY)


async def test_overrides_and_alerts(client: AsyncClient, script: Script) -> None:
    """They are set, asked for, tried and listed; who grants twice by its one id grants once."""
    assert (await client.set_override("acme", enabled=True, max_amount=5, reason="launch")).override.override_id == "o1"
    assert (await client.request_override("acme", max_amount=5, reason="launch")).override.override_id == "o2"
    assert (await client.test_alerts("acme")).alert.alert_id == "a1"
    assert (await client.retry_alerts("acme")).deliveries == 2
    assert [override.override_id async for override in client.list_overrides("acme", state="ACTIVE")] == ["o1"]
    assert [alert.alert_id async for alert in client.list_alerts("acme", kind="TEST")] == ["a1"]
    script.lines = [failure(grpc.StatusCode.UNAVAILABLE)] * 2
    await client.set_override("acme", enabled=True, max_amount=5, reason="launch")
    first, *tries = script.asked_for("SetOverride")
    assert len(tries) == 3
    assert len({request.request_id for request in tries} | {first.request_id}) == 2


async def test_months_are_told(client: AsyncClient, script: Script) -> None:
    """A statement, a split and a report: each by its RPC."""
    assert (await client.get_statement("acme", period="2026-10")).statement.period == "2026-10"
    assert (await client.get_attributed_spend("acme", scope_kind="CAMPAIGN", rules=[])).entries[0].id == "spring"
    assert (await client.get_monthly_report("acme")).markdown == "# Spend"
    assert [request.organization for request in script.asked] == ["acme"] * 3


async def test_a_hold_tells_its_override(client: AsyncClient, script: Script) -> None:
    """What paid for a part beyond a cap is at hand."""
    use = OverrideUse(override_id="o1", amount=to_money("0.04"))
    script.lines = [gate.ReserveResponse(reservation=Reservation(reservation_id="job-1", override=use))]
    verdict = await client.reserve("acme", amount="0.10")
    assert isinstance(verdict, AsyncHold)
    assert verdict.override == use


async def test_a_call_ends_at_its_deadline(client: AsyncClient, script: Script) -> None:
    """The call's own goes before the client's."""
    script.release_may_end.clear()
    with pytest.raises(Unavailable) as caught:
        await client.release("acme", "job-1", timeout_s=0.05)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    script.release_may_end.set()


async def test_the_environment_names_the_server(target: str, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """BILLING_API_URL is dialled, and the token goes with the call."""
    monkeypatch.setenv("BILLING_API_URL", f"http://{target}")
    async with AsyncClient(token="s3cret") as client:
        assert (await client.get_status("acme")).can_execute
    assert ("authorization", "Bearer s3cret") in script.metadata


async def test_a_closed_client_asks_nobody(target: str, script: Script) -> None:
    """The channel is gone with the block."""
    async with AsyncClient(target) as client:
        pass
    with pytest.raises(grpc.aio.UsageError):
        await client.get_status("acme")
    assert not script.asked


def test_a_client_needs_a_loop() -> None:
    """A channel made outside the loop that uses it would hang or break later."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient()
