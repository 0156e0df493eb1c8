"""What may a caller say? The keywords of every call, under the names of the request's fields.

`requests` turns what is Pythonic about a value (Decimal, timedelta, "MONTH") into its message.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from gatekeeper_client.money import Amount
from gatekeeper_client.v1.budget_pb2 import Scope
from gatekeeper_client.v1.reservation_pb2 import TokenEstimate, TokenUsage
from gatekeeper_client.v1.spend_pb2 import SplitRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatekeeper_client.errors import GatekeeperError
    from gatekeeper_client.v1.budget_pb2 import Priority

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
    "OVERRIDE_REQUESTED",
    "OVERRIDE_GRANTED",
    "OVERRIDE_APPROVED",
    "OVERRIDE_DECLINED",
    "OVERRIDE_ENDED",
    "OVERRIDE_USED",
    "INVOICE_ISSUED",
    "INVOICE_CREDITED",
    "BILLING_PROFILE_SET",
]
AlertKindName: TypeAlias = Literal[
    "THRESHOLD", "RESOLVED", "BURN_RATE", "RUNAWAY", "OVERRIDE_REQUESTED", "VERIFICATION_FAILED", "TEST"
]
InvoiceFormatName: TypeAlias = Literal["PDF", "CSV", "CSV_LINES", "FOCUS", "JSON", "UBL", "CII", "FACTUR_X"]
PriorityName: TypeAlias = Literal["CRITICAL", "NORMAL", "BATCH"]
Span: TypeAlias = timedelta | int  # an int counts seconds


class Call(TypedDict, total=False):
    """What every call takes: its own deadline, retries included, instead of the client's."""

    timeout_s: float


class Reserve(Call, total=False):
    """What is to be held, and for what: either `amount` or `tokens`.

    `override_id` names the only override that may pay for it. `override_request` is why an admin should let it through
    if it is denied for want of money: approved, the same `reservation_id` goes through.
    """

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
    priority: PriorityName | Priority.ValueType
    override_id: str
    override_request: str


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
    """What a budget is to become; what is not given stays. The organization's budget of a MONTH, unless told.

    `floors` are where calls of a priority stop, in percent of the cap: {"BATCH": 90, "NORMAL": 97}; 100 for no floor.
    """

    scope: ScopeLike
    window: Literal["DAY", "MONTH", "TOTAL"]
    cap: Amount
    enforcement: Literal["ENFORCE", "WARN", "SHADOW"]
    thresholds: Sequence[int]
    floors: Mapping[Literal["NORMAL", "BATCH"], int]
    frozen: bool
    reason: str
    etag: str


class RequestOverride(Call, total=False):
    """How much past the caps, how long once it is approved, why, and for which calls.

    Those of a `scope`, or the one of a `reservation` id that was not admitted yet; of the organization unless told.
    """

    scope: ScopeLike
    reservation: str
    max_amount: Amount
    ttl: Span
    reason: str


class SetOverride(RequestOverride, total=False):
    """What is to become of an override, on (`enabled`) or off; or of one that there is, by its `override_id`."""

    override_id: str
    enabled: bool
    request_id: str


class Overrides(Call, total=False):
    """Which overrides to list, and how many a page."""

    state: Literal["PENDING", "ACTIVE", "ENDED", "DECLINED", "EXPIRED"]
    page_size: int


class Alerts(Call, total=False):
    """Which alerts to list, by what they tell and by how far they have come on a channel, and how many a page."""

    kind: AlertKindName
    delivery_state: Literal["PENDING", "DELIVERED", "DEAD"]
    page_size: int


class MonthlyReport(Call, total=False):
    """Which month to tell (`2026-10`); the last one unless told."""

    period: str


class StatementOf(Call, total=False):
    """Whose monthly budget, of which month (`2026-10`); the organization's, of the current one, unless told."""

    scope: ScopeLike
    period: str


class AttributedSpend(Call, total=False):
    """Among what a month's spend is split, by which rules, and as of when; of the current month, now, unless told."""

    period: str
    scope_kind: Literal["DEPARTMENT", "CAMPAIGN"]
    rules: Sequence[SplitRule]
    as_of: datetime


class Watch(TypedDict, total=False):
    """Whom to tell that the connection is lost, with the error, before each try to get it back."""

    on_lost: Callable[[GatekeeperError], None]


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


class Month(Call, total=False):
    """Which month, such as `2026-11`, and what was recorded before when (`as_of`, with a time zone): all by default."""

    period: str
    as_of: datetime


class SpendList(Month, total=False):
    """Which month's spend to list, and how many entries a page."""

    page_size: int


class Change(Call, total=False):
    """Why something is changed, for the audit trail."""

    reason: str


class ExportInvoice(Call, total=False):
    """Which invoice: of a `period` (`2026-11`; the current month, as a draft, unless told) or by its `number`.

    `draft` issues nothing. `formats` are the files that follow, none unless told.
    """

    period: str
    number: str
    draft: bool
    formats: Sequence[InvoiceFormatName]


class Invoices(Call, total=False):
    """Which invoices to list, and how many a page."""

    period: str
    kind: Literal["INVOICE", "CREDIT_NOTE"]
    page_size: int


class Organizations(Call, total=False):
    """Which organization to look for, all by default, and how many a page."""

    organization: str
    page_size: int
