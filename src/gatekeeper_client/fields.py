"""What may a caller say, and how does it read on the wire? The keywords of every call.

Each TypedDict lists keywords under the names of the request's fields; `wire` turns what is Pythonic about a value
(Decimal, timedelta, "MONTH") into its message.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper_client.ids import new_reservation_id
from gatekeeper_client.money import Amount, to_money
from gatekeeper_client.v1.budget_pb2 import Scope, ScopeKind
from gatekeeper_client.v1.gatekeeper_service_pb2 import CommitRequest, ReserveRequest
from gatekeeper_client.v1.reservation_pb2 import Metrics, TokenEstimate, TokenUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ScopeKindName: TypeAlias = Literal["ORGANIZATION", "DEPARTMENT", "CAMPAIGN", "AGENT", "RUN"]
ScopeLike: TypeAlias = Scope | tuple[ScopeKindName, str]
AuditActionName: TypeAlias = Literal[
    "ORGANIZATION_OPENED",
    "POLICY_CHANGED",
    "BUDGET_SET",
    "BUDGET_FROZEN",
    "BUDGET_UNFROZEN",
    "PRICE_SET",
    "TOKEN_CREATED",
    "TOKEN_REVOKED",
    "RESERVATION_RELEASED",
    "CALL_DENIED",
]
Span: TypeAlias = timedelta | int  # an int counts seconds


class Call(TypedDict, total=False):
    """What every call takes: its own deadline, retries included, instead of the client's."""

    timeout_s: float


class Reserve(Call, total=False):
    """What is to be held, and for what: either `amount` or `tokens`."""

    reservation_id: str
    department: str
    campaign: str
    agent: str
    agent_type: str
    run: str
    task: str
    amount: Amount
    tokens: TokenEstimate
    ttl: Span
    labels: Mapping[str, str]
    validate_only: bool


class Commit(Call, total=False):
    """What a call cost, either `amount` or `usage`, and what came of it; the scores are 0 to 100."""

    amount: Amount
    usage: TokenUsage
    outcome: Literal["SUCCEEDED", "FAILED", "CANCELLED"]
    quality_score: float
    impact_score: float
    conversions: int
    revenue: Amount
    latency: Span
    labels: Mapping[str, str]


class Extend(Call, total=False):
    """What a hold is to become: `ttl` from now on, `amount` for the whole."""

    ttl: Span
    amount: Amount


class Status(Call, total=False):
    """What to look at: every scope, and the current periods, unless told (`2026-11-20`, `2026-11`, `total`)."""

    scopes: Iterable[ScopeLike]
    period: str


class Cap(Call, total=False):
    """What a budget is to become; what is not given stays. The organization's budget of a MONTH, unless told."""

    scope: ScopeLike
    window: Literal["DAY", "MONTH", "TOTAL"]
    cap: Amount
    enforcement: Literal["ENFORCE", "WARN", "SHADOW"]
    thresholds: Sequence[int]
    frozen: bool
    reason: str
    etag: str


class Budgets(Call, total=False):
    """Which budgets to list, and how many a page."""

    scope_kind: ScopeKindName
    page_size: int


class _Calls(Call, total=False):
    department: str
    campaign: str
    agent: str
    run: str
    page_size: int


class Reservations(_Calls, total=False):
    """Which reservations to list, and how many a page."""

    state: Literal["HELD", "COMMITTED", "RELEASED", "EXPIRED"]


class Executions(_Calls, total=False):
    """Which executions to list, and how many a page."""

    period: str
    model: str
    outcome: Literal["SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN"]
    kind: Literal["COMMIT", "EXPIRY_CHARGE", "REVERSAL"]


class AuditEvents(Call, total=False):
    """Which entries of the audit trail to list, from `start_time` on and before `end_time`, and how many a page."""

    action: AuditActionName
    actor: str
    start_time: datetime
    end_time: datetime
    page_size: int


def reserve_request(organization: str, hold: Reserve) -> ReserveRequest:
    """Ask for a hold, under a new id unless one is given."""
    _exactly_one(hold, "amount", "tokens")
    request = ReserveRequest(organization=organization, **wire(hold))
    request.reservation_id = request.reservation_id or new_reservation_id()
    return request


def commit_request(organization: str, reservation_id: str, cost: Commit) -> CommitRequest:
    """Tell the real cost, and what came of it if anything is known."""
    _exactly_one(cost, "amount", "usage")
    fields = wire(cost)
    metrics = {name: fields.pop(name) for name in Metrics.DESCRIPTOR.fields_by_name if name in fields}
    fields["metrics"] = Metrics(**metrics) if metrics else None
    return CommitRequest(organization=organization, reservation_id=reservation_id, **fields)


def wire(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields as a message takes them; raises TypeError and ValueError for bad values."""
    return {name: WIRE.get(name, _same)(value) for name, value in fields.items() if name != "timeout_s"}


def turn(request: Any, page: Any) -> bool:
    """Point a list's request at the page after this one; False after the last."""
    request.page_token = page.next_page_token
    return bool(page.next_page_token)


def _exactly_one(fields: Mapping[str, object], one: str, other: str) -> None:
    """Refuse none and both: the message would quietly keep the last."""
    if (one in fields) == (other in fields):
        msg = f"give either {one} or {other}"
        raise TypeError(msg)


def _same(value: object) -> object:
    return value


def _scope(scope: ScopeLike) -> Scope:
    return scope if isinstance(scope, Scope) else Scope(kind=ScopeKind.Value(f"SCOPE_KIND_{scope[0]}"), id=scope[1])


def _duration(span: Span) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span if isinstance(span, timedelta) else timedelta(seconds=span))
    return duration


def _timestamp(instant: datetime) -> Timestamp:
    """Return an instant; refuse one without a time zone, which would be taken for UTC."""
    if instant.tzinfo is None:
        msg = f"{instant} has no time zone; give it one, such as datetime.UTC"
        raise ValueError(msg)
    timestamp = Timestamp()
    timestamp.FromDatetime(instant.astimezone(UTC))
    return timestamp


WIRE: Final[Mapping[str, Callable[[Any], object]]] = {
    **dict.fromkeys(("amount", "cap", "revenue"), to_money),
    **dict.fromkeys(("ttl", "latency"), _duration),
    **dict.fromkeys(("start_time", "end_time"), _timestamp),
    "scope": _scope,
    "scopes": lambda scopes: [_scope(scope) for scope in scopes],
    # Messages take enum values by name.
    "scope_kind": "SCOPE_KIND_{}".format,
    "window": "BUDGET_WINDOW_{}".format,
    "enforcement": "ENFORCEMENT_{}".format,
    "outcome": "OUTCOME_{}".format,
    "state": "RESERVATION_STATE_{}".format,
    "kind": "EXECUTION_KIND_{}".format,
    "action": "AUDIT_ACTION_{}".format,
}
