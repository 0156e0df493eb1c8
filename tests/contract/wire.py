"""How do these tests speak with a server? By the raw stubs, in as few words as a test can be read in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2, reservation_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1.admin_service_pb2_grpc import AdminServiceStub
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub

# No call of these tests may hang; none takes a tenth of it.
TIMEOUT_S = 20
# How long a call takes at most from here into the server's queue.
QUEUED_S = 0.15
TABLES = (
    "organizations",
    "budgets",
    "balances",
    "reservations",
    "executions",
    "excesses",
    "denials",
    "price_books",
    "open_holds",
    "tokens",
    "audit_events",
    "overrides",
)
COUNTS = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in TABLES)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

ORGANIZATION = budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_ORGANIZATION)
STREAMING = {
    f"/{service.full_name}/{method.name}"
    for file in (pb, report_pb)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.server_streaming
}


def department(name: str) -> budget_pb2.Scope:
    """Return the scope of a department."""
    return budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_DEPARTMENT, id=name)


def campaign(name: str) -> budget_pb2.Scope:
    """Return the scope of a campaign."""
    return budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_CAMPAIGN, id=name)


def agent(name: str) -> budget_pb2.Scope:
    """Return the scope of an agent."""
    return budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_AGENT, id=name)


def run(name: str) -> budget_pb2.Scope:
    """Return the scope of a run."""
    return budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_RUN, id=name)


class Wire:
    """A server, by its stubs, and its database, by SQL."""

    def __init__(self, address: str, database_url: str) -> None:
        """Connect to both."""
        self.address = address
        self.database_url = database_url
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.gatekeeper = GatekeeperServiceStub(self.channel)
        self.reports = ReportServiceStub(self.channel)
        self.admin = AdminServiceStub(self.channel)
        self._health: Any = health_pb2_grpc.HealthStub(self.channel)
        self.database = psycopg.connect(database_url, autocommit=True)

    def close(self) -> None:
        """Leave both."""
        self.channel.close()
        self.database.close()

    def reserve(self, organization: str, amount: str | None = None, **fields: Any) -> pb.ReserveResponse:
        """Reserve; the amount in the organization's currency."""
        request = pb.ReserveRequest(organization=organization, amount=_money(amount), **fields)
        return self.gatekeeper.Reserve(request, timeout=TIMEOUT_S)

    def hold(self, organization: str, amount: str = "1.00", **fields: Any) -> reservation_pb2.Reservation:
        """Reserve what must be admitted."""
        answer = self.reserve(organization, amount, **fields)
        assert answer.WhichOneof("outcome") == "reservation", answer
        return answer.reservation

    def deny(self, organization: str, amount: str | None = None, **fields: Any) -> reservation_pb2.Denial:
        """Reserve what must be denied."""
        answer = self.reserve(organization, amount, **fields)
        assert answer.WhichOneof("outcome") == "denial", answer
        return answer.denial

    def commit(self, held: reservation_pb2.Reservation, amount: str | None = None, **fields: Any) -> pb.CommitResponse:
        """Commit a reservation."""
        request = pb.CommitRequest(**_named(held), amount=_money(amount), **fields)
        return self.gatekeeper.Commit(request, timeout=TIMEOUT_S)

    def release(self, held: reservation_pb2.Reservation) -> pb.ReleaseResponse:
        """Release a reservation."""
        return self.gatekeeper.Release(pb.ReleaseRequest(**_named(held)), timeout=TIMEOUT_S)

    def extend(self, held: reservation_pb2.Reservation, amount: str | None = None, **fields: Any) -> pb.ExtendResponse:
        """Extend a reservation."""
        request = pb.ExtendRequest(**_named(held), amount=_money(amount), **fields)
        return self.gatekeeper.Extend(request, timeout=TIMEOUT_S)

    def test_later(self, organization: str) -> None:
        """Let a minute pass for test alerts: another one may be sent."""
        self.sql("UPDATE alerts SET subject = alert_id::text WHERE organization = %s AND kind = 'TEST'", organization)

    def status(self, organization: str, *scopes: budget_pb2.Scope, period: str = "") -> pb.GetStatusResponse:
        """Ask how budgets stand."""
        request = pb.GetStatusRequest(organization=organization, scopes=scopes, period=period)
        return self.gatekeeper.GetStatus(request, timeout=TIMEOUT_S)

    def budget(
        self, organization: str, scope: budget_pb2.Scope = ORGANIZATION, period: str = ""
    ) -> budget_pb2.BudgetStatus:
        """Return how the only budget of a scope stands."""
        (found,) = [b for b in self.status(organization, scope, period=period).budgets if b.scope == scope]
        return found

    def cap(
        self, organization: str, amount: str | None = None, scope: budget_pb2.Scope | None = None, **fields: Any
    ) -> budget_pb2.Budget:
        """Set a budget."""
        request = pb.SetCapRequest(organization=organization, cap=_money(amount), scope=scope, **fields)
        return self.gatekeeper.SetCap(request, timeout=TIMEOUT_S).budget

    def reservation(self, held: reservation_pb2.Reservation) -> reservation_pb2.Reservation:
        """Return a reservation as it is now."""
        request = report_pb.ListReservationsRequest(organization=held.organization, page_size=1000)
        listed = self.reports.ListReservations(request, timeout=TIMEOUT_S).reservations
        (found,) = [entry for entry in listed if entry.reservation_id == held.reservation_id]
        return found

    def executions(self, organization: str, **filters: Any) -> list[reservation_pb2.Execution]:
        """Return the billing log, oldest first."""
        request = report_pb.ListExecutionsRequest(organization=organization, **filters)
        return list(self.reports.ListExecutions(request, timeout=TIMEOUT_S).executions)[::-1]

    def open(self, organization: str, *, time_zone: str = "UTC", expiry_policy: str = "RELEASE") -> None:
        """Open an organization on terms of its own, with a monthly budget of 100."""
        self.sql(
            "INSERT INTO organizations (organization, time_zone, expiry_policy) VALUES (%s, %s, %s)",
            organization,
            time_zone,
            expiry_policy,
        )
        self.cap(organization, "100")

    def health(self, service: str = "") -> int:
        """Return what health says of a service."""
        request = health_pb2.HealthCheckRequest(service=service)
        return int(self._health.Check(request, timeout=TIMEOUT_S).status)

    def watch_health(self, service: str = "") -> Any:
        """Return what health says of a service whenever it changes."""
        return self._health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)

    def send_raw(self, path: str, request: bytes) -> bytes:
        """Send bytes to a path, whatever they are; return those of the answer, or of a stream's first message."""
        method: Any = self.channel.unary_stream(path) if path in STREAMING else self.channel.unary_unary(path)
        answer: bytes = first_of(method(request, timeout=TIMEOUT_S))
        return answer

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute a statement behind the server's back; return its rows."""
        cursor = self.database.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has."""
        return dict(self.sql(COUNTS))

    @contextmanager
    def locked(self, organization: str) -> Iterator[None]:
        """Hold the lock on an organization's books."""
        with psycopg.connect(self.database_url) as other:
            other.execute("SELECT FROM organizations WHERE organization = %s FOR UPDATE", (organization,))
            yield

    def wait_for_lock(self) -> None:
        """Wait until some transaction waits for a lock."""
        until(lambda: self.sql(WAITING)[0][0] > 0)


def first_of(answer: Any) -> Any:
    """Return an answer, or the first message of a stream, which is left then."""
    if not isinstance(answer, grpc.Call):
        return answer
    try:
        return next(answer)  # type: ignore[call-overload]
    finally:
        answer.cancel()


def decimals(status: budget_pb2.BudgetStatus) -> tuple[Decimal, Decimal, Decimal]:
    """Return spent, reserved and available."""
    return from_money(status.spent), from_money(status.reserved), from_money(status.available)


def until(met: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, met
        time.sleep(0.01)


@contextmanager
def beside(calls_max: int = 16) -> Iterator[ThreadPoolExecutor]:
    """Yield what makes calls while the test does something else, so many at a time."""
    with ThreadPoolExecutor(calls_max) as pool:
        yield pool


def _money(amount: str | None) -> Any:
    return None if amount is None else to_money(amount)


def _named(held: reservation_pb2.Reservation) -> dict[str, Any]:
    return {"reservation_id": held.reservation_id, "organization": held.organization}
