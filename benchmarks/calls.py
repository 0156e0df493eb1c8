"""Which calls are made, and how does each get its own reservation id without being serialized anew?

The id stands first in both requests and is always 36 bytes long, so a body is: a fixed head, the id, one of some
ready-made tails.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money

from benchmarks.http2 import PREFIX_BYTES, framed
from gatekeeper_client.v1 import (
    admin_service_pb2,
    budget_pb2,
    gatekeeper_service_pb2,
    report_service_pb2,
    reservation_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMPTY_PATH: Final = b"/benchmarks.Baseline/Empty"
RESERVE_PATH: Final = b"/gatekeeper.v1.GatekeeperService/Reserve"
COMMIT_PATH: Final = b"/gatekeeper.v1.GatekeeperService/Commit"
GET_STATUS_PATH: Final = b"/gatekeeper.v1.GatekeeperService/GetStatus"
SET_CAP_PATH: Final = b"/gatekeeper.v1.GatekeeperService/SetCap"
GET_SPEND_SUMMARY_PATH: Final = b"/gatekeeper.v1.ReportService/GetSpendSummary"
LIST_CAMPAIGN_SPEND_PATH: Final = b"/gatekeeper.v1.ReportService/ListCampaignSpend"
WATCH_STATUS_PATH: Final = b"/gatekeeper.v1.ReportService/WatchStatus"
CREATE_TOKEN_PATH: Final = b"/gatekeeper.v1.AdminService/CreateToken"

Answer = type[gatekeeper_service_pb2.ReserveResponse] | type[gatekeeper_service_pb2.CommitResponse]

ID_PLACE: Final = "0" * 36
RESERVATION_TAG: Final = 0x0A  # the first field of ReserveResponse and of CommitResponse: the reservation
AGENTS: Final = 50
RUNS: Final = 500
CAMPAIGN: Final = "launch"
# Longer than a run of the benchmark, so that no hold ends while it is measured.
TTL: Final = Duration(seconds=6 * 3600)
HELD: Final = Money(currency_code="USD", nanos=10_000_000)
COST: Final = Money(currency_code="USD", nanos=8_123_456)
HUGE_CAP: Final = Money(currency_code="USD", units=1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One kind of call: its path, its body around the id, and how its answer is read."""

    path: bytes
    head: bytes
    tails: tuple[bytes, ...]
    answer: Answer | None

    def body(self, number: int, reservation_id: bytes) -> bytes:
        """Return the framed message of the call with this number."""
        if self.answer is None:
            return self.head
        return self.head + reservation_id + self.tails[number % len(self.tails)]

    def message(self, number: int, reservation_id: bytes) -> bytes:
        """Return the same without its gRPC prefix."""
        return self.body(number, reservation_id)[PREFIX_BYTES:]

    def admitted(self, message: bytes) -> bool:
        """Tell from the first tag of an answer whether it brings a reservation; an empty call always passes."""
        return self.answer is None or (len(message) > 0 and message[0] == RESERVATION_TAG)

    def is_about(self, message: bytes, reservation_id: bytes) -> bool:
        """Tell, by decoding an admitted answer in full, whether it is about this reservation."""
        if self.answer is None:
            return True
        return self.answer.FromString(message).reservation.reservation_id == reservation_id.decode()


def uuid7_text() -> bytes:
    """Return a new UUIDv7, 36 characters: later ones sort later, to the millisecond."""
    noise = random.getrandbits(74)
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (noise >> 62) << 64 | 2 << 62 | noise & (1 << 62) - 1
    digits = b"%032x" % number
    return b"%b-%b-%b-%b-%b" % (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])


def empty() -> Call:
    """Return a call without content."""
    return Call(path=EMPTY_PATH, head=framed(b""), tails=(), answer=None)


def reserve(organization: str) -> Call:
    """Return a Reserve for one campaign of the organization, its agent and run changing with the number."""
    requests = (
        gatekeeper_service_pb2.ReserveRequest(
            reservation_id=ID_PLACE,
            organization=organization,
            campaign=CAMPAIGN,
            agent=agent(run % AGENTS),
            agent_type="content",
            run=f"run-{run:03}",
            amount=HELD,
            ttl=TTL,
        ).SerializeToString()
        for run in range(RUNS)
    )
    return _around_id(RESERVE_PATH, requests, gatekeeper_service_pb2.ReserveResponse)


def commit(organization: str) -> Call:
    """Return a Commit of a little less than was reserved."""
    request = gatekeeper_service_pb2.CommitRequest(
        reservation_id=ID_PLACE, organization=organization, amount=COST, outcome=reservation_pb2.OUTCOME_SUCCEEDED
    )
    return _around_id(COMMIT_PATH, [request.SerializeToString()], gatekeeper_service_pb2.CommitResponse)


def chain(name: str, organization: str) -> tuple[Call, ...]:
    """Return the calls that follow one another on the same id, by the name of the chain."""
    if name == "empty":
        return (empty(),)
    if name == "empty-twice":
        return (empty(), empty())
    if name == "reserve":
        return (reserve(organization),)
    if name == "cycle":
        return (reserve(organization), commit(organization))
    raise ValueError(name)


def huge_cap(organization: str, kind: budget_pb2.ScopeKind.ValueType) -> bytes:
    """Return a SetCap request that leaves room for every call of a benchmark."""
    scope = budget_pb2.Scope(kind=kind, id=CAMPAIGN if kind == budget_pb2.SCOPE_KIND_CAMPAIGN else "")
    request = gatekeeper_service_pb2.SetCapRequest(
        organization=organization,
        scope=scope,
        window=budget_pb2.BUDGET_WINDOW_MONTH,
        cap=HUGE_CAP,
        reason="benchmark",
    )
    return request.SerializeToString()


def agent_cap(organization: str, number: int, cap: Money, thresholds: Sequence[int]) -> bytes:
    """Return a SetCap request for one of the agents that `reserve` names; whatever it spends, it is not stopped."""
    request = gatekeeper_service_pb2.SetCapRequest(
        organization=organization,
        scope=budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_AGENT, id=agent(number)),
        window=budget_pb2.BUDGET_WINDOW_MONTH,
        cap=cap,
        enforcement=budget_pb2.ENFORCEMENT_WARN,
        thresholds=thresholds,
        reason="benchmark",
    )
    return request.SerializeToString()


def agents_status(organization: str, count: int) -> bytes:
    """Return a GetStatus request for the first agents that `reserve` names."""
    scopes = (budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_AGENT, id=agent(number)) for number in range(count))
    return gatekeeper_service_pb2.GetStatusRequest(organization=organization, scopes=scopes).SerializeToString()


def watch(organization: str) -> bytes:
    """Return a WatchStatus request."""
    return report_service_pb2.WatchStatusRequest(organization=organization).SerializeToString()


def agent(number: int) -> str:
    """Return the name of an agent."""
    return f"agent-{number:02}"


def agent_token(organization: str) -> bytes:
    """Return a CreateToken request for an agent of an organization."""
    request = admin_service_pb2.CreateTokenRequest(
        organization=organization, name="bench-agent", role=admin_service_pb2.ROLE_AGENT, reason="benchmark"
    )
    return request.SerializeToString()


def _around_id(path: bytes, requests: Iterable[bytes], answer: Answer) -> Call:
    halves = [framed(request).split(ID_PLACE.encode()) for request in requests]
    heads = {head for head, _ in halves}
    if len(heads) != 1:
        message = "the requests differ in length"
        raise ValueError(message)
    return Call(path=path, head=heads.pop(), tails=tuple(tail for _, tail in halves), answer=answer)
