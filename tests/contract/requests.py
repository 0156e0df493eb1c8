"""What does a valid request of each kind look like, with every field set?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import (
    alert_pb2,
    audit_pb2,
    budget_pb2,
    invoice_pb2,
    override_pb2,
    reservation_pb2,
    spend_pb2,
)
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .refusals import Refusal, refusal
from .wire import TIMEOUT_S, Wire, campaign, first_of

ATTRIBUTION: dict[str, Any] = {"department": "d", "campaign": "c", "agent": "a", "run": "r"}
TOMORROW_S = int(time.time()) + 86_400
THIS_MONTH = time.strftime("%Y-%m", time.gmtime())
PAST = Timestamp(seconds=1_700_000_000)
PLACE: dict[str, Any] = {"page_size": 7, "page_token": ""}
METRICS = reservation_pb2.Metrics(
    quality_score=50, impact_score=50, conversions=1, revenue=to_money(1, "USD"), latency=Duration(seconds=1)
)

GATEKEEPER, REPORT, ADMIN = (f"gatekeeper.v1.{name}Service" for name in ("Gatekeeper", "Report", "Admin"))

# By a name of its own; the RPC is the part before the blank.
VALID: dict[str, Message] = {
    "Reserve": pb.ReserveRequest(
        reservation_id="i",
        organization="o",
        agent_type="seo",
        task="t",
        amount=to_money(1, "USD"),
        ttl=Duration(seconds=60),
        labels={"key": "value"},
        priority=budget_pb2.PRIORITY_BATCH,
        override_request="why",
        **ATTRIBUTION,
    ),
    "Reserve tokens": pb.ReserveRequest(
        organization="o",
        tokens=reservation_pb2.TokenEstimate(
            model="gpt-4o", input_tokens=9, cached_input_tokens=3, max_output_tokens=9
        ),
    ),
    "Commit": pb.CommitRequest(
        reservation_id="i",
        organization="o",
        amount=to_money(1, "USD"),
        outcome=reservation_pb2.OUTCOME_FAILED,
        metrics=METRICS,
        labels={"key": "value"},
    ),
    "Commit usage": pb.CommitRequest(
        reservation_id="i",
        organization="o",
        usage=reservation_pb2.TokenUsage(
            model="gpt-4o", input_tokens=9, cached_input_tokens=3, cache_write_input_tokens=3, output_tokens=9
        ),
    ),
    "Release": pb.ReleaseRequest(reservation_id="i", organization="o"),
    "Extend": pb.ExtendRequest(
        reservation_id="i", organization="o", ttl=Duration(seconds=60), amount=to_money(1, "USD")
    ),
    "GetStatus": pb.GetStatusRequest(organization="o", scopes=[campaign("c")], period="2026-11-20"),
    "SetCap": pb.SetCapRequest(
        organization="o",
        scope=campaign("c"),
        window=budget_pb2.BUDGET_WINDOW_MONTH,
        cap=to_money(1, "USD"),
        enforcement=budget_pb2.ENFORCEMENT_ENFORCE,
        thresholds=[80, 100],
        frozen=False,
        reason="why",
        etag="",
    ),
    "SetOverride": pb.SetOverrideRequest(
        organization="o",
        scope=campaign("c"),
        enabled=True,
        max_amount=to_money(1, "USD"),
        ttl=Duration(seconds=60),
        reason="why",
    ),
    "SetOverride reservation": pb.SetOverrideRequest(
        organization="o", reservation="i", enabled=True, max_amount=to_money(1, "USD"), reason="why"
    ),
    "SetOverride decision": pb.SetOverrideRequest(organization="o", override_id="v", enabled=True, reason="why"),
    "RequestOverride": pb.RequestOverrideRequest(
        organization="o",
        scope=campaign("c"),
        max_amount=to_money(1, "USD"),
        ttl=Duration(seconds=60),
        reason="why",
    ),
    "RequestOverride reservation": pb.RequestOverrideRequest(
        organization="o", reservation="i", max_amount=to_money(1, "USD"), reason="why"
    ),
    "ListBudgets": report_pb.ListBudgetsRequest(organization="o", scope_kind=budget_pb2.SCOPE_KIND_CAMPAIGN, **PLACE),
    "ListReservations": report_pb.ListReservationsRequest(
        organization="o", state=reservation_pb2.RESERVATION_STATE_HELD, **ATTRIBUTION, **PLACE
    ),
    "ListExecutions": report_pb.ListExecutionsRequest(
        organization="o",
        period=THIS_MONTH,
        model="m",
        outcome=reservation_pb2.OUTCOME_SUCCEEDED,
        kind=reservation_pb2.EXECUTION_KIND_COMMIT,
        **ATTRIBUTION,
        **PLACE,
    ),
    "ListAuditEvents": report_pb.ListAuditEventsRequest(
        organization="o",
        action=audit_pb2.AUDIT_ACTION_BUDGET_SET,
        actor="a",
        start_time=Timestamp(seconds=1),
        end_time=Timestamp(seconds=2),
        **PLACE,
    ),
    "ListOverrides": report_pb.ListOverridesRequest(
        organization="o", state=override_pb2.OVERRIDE_STATE_ACTIVE, **PLACE
    ),
    "ListAlerts": report_pb.ListAlertsRequest(
        organization="o",
        kind=alert_pb2.ALERT_KIND_THRESHOLD,
        delivery_state=alert_pb2.DELIVERY_STATE_DELIVERED,
        **PLACE,
    ),
    "WatchStatus": report_pb.WatchStatusRequest(organization="o"),
    "CreateToken": admin_pb.CreateTokenRequest(
        organization="o",
        name="n",
        role=admin_pb.ROLE_AGENT,
        scope=campaign("c"),
        identity="CN=n",
        expire_time=Timestamp(seconds=TOMORROW_S),
        reason="why",
    ),
    "ListTokens": admin_pb.ListTokensRequest(organization="o", **PLACE),
    "RevokeToken": admin_pb.RevokeTokenRequest(organization="o", token="n", reason="why"),
    "SetPrice": admin_pb.SetPriceRequest(
        organization="o",
        model_price=admin_pb.ModelPrice(
            model="m",
            input=to_money(1, "USD"),
            output=to_money(1, "USD"),
            cached_input=to_money(1, "USD"),
            cache_write_input=to_money(1, "USD"),
            since="2099-01-01",
        ),
        reason="why",
    ),
    "SetPrice agent type": admin_pb.SetPriceRequest(
        organization="o",
        agent_type_price=admin_pb.AgentTypePrice(agent_type="seo", per_1000_tokens=to_money(1, "USD")),
    ),
    "GetSpendSummary": report_pb.GetSpendSummaryRequest(organization="o", period="2023-11", as_of=PAST),
    "ListCampaignSpend": report_pb.ListCampaignSpendRequest(organization="o", period="2023-11", as_of=PAST, **PLACE),
    "ListDepartmentSpend": report_pb.ListDepartmentSpendRequest(
        organization="o", period="2023-11", as_of=PAST, **PLACE
    ),
    "ListAgentSpend": report_pb.ListAgentSpendRequest(organization="o", period="2023-11", as_of=PAST, **PLACE),
    "ListModelSpend": report_pb.ListModelSpendRequest(organization="o", period="2023-11", as_of=PAST, **PLACE),
    "GetAttributedSpend": report_pb.GetAttributedSpendRequest(
        organization="o",
        period="2023-11",
        scope_kind=budget_pb2.SCOPE_KIND_CAMPAIGN,
        rules=[
            spend_pb2.SplitRule(
                label="shared",
                value="all",
                model=spend_pb2.SPLIT_MODEL_WEIGHTED,
                shares=[spend_pb2.SplitShare(id="c", weight=2)],
            )
        ],
        as_of=PAST,
    ),
    "GetStatement": report_pb.GetStatementRequest(organization="o", scope=campaign("c"), period=THIS_MONTH),
    "GetMonthlyReport": report_pb.GetMonthlyReportRequest(organization="o", period=THIS_MONTH),
    "ListInvoices": report_pb.ListInvoicesRequest(
        organization="o", period="2023-11", kind=invoice_pb2.INVOICE_KIND_INVOICE, **PLACE
    ),
    "ListOrganizations": report_pb.ListOrganizationsRequest(organization="o", **PLACE),
    "ExportInvoice": pb.ExportInvoiceRequest(
        organization="o", period=THIS_MONTH, formats=[invoice_pb2.INVOICE_FORMAT_JSON], draft=True
    ),
    "ExportInvoice number": pb.ExportInvoiceRequest(organization="o", number="2026-000001"),
    "GetBillingProfile": admin_pb.GetBillingProfileRequest(organization="o"),
    "SetBillingProfile": admin_pb.SetBillingProfileRequest(
        organization="o",
        profile=invoice_pb2.BillingProfile(
            buyer=invoice_pb2.InvoiceParty(
                legal_name="n",
                address="s 1",
                city="c",
                postal_code="p",
                country="DE",
                vat_id="DE123456789",
                email="a@b.example",
            ),
            reference="r",
            tax_rate_percent="19",
            tax_category=invoice_pb2.TAX_CATEGORY_STANDARD,
            tax_note="",
            payment_days=14,
            etag="",
        ),
        reason="why",
    ),
    "CreditInvoice": admin_pb.CreditInvoiceRequest(organization="o", number="2026-000001", reason="why"),
    "TestAlerts": admin_pb.TestAlertsRequest(organization="o"),
    "RetryAlerts": admin_pb.RetryAlertsRequest(organization="o"),
}

FREE_TEXTS = {
    *("period", "reason", "etag", "page_token", "currency_code", "identity", "since", "override_request"),
    *("label", "value"),
    # What an invoice says of somebody.
    *("legal_name", "address", "city", "postal_code", "email", "reference", "tax_note"),
}
SERVICE_OF = {
    method.name: service.full_name
    for file in (pb, report_pb, admin_pb)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def valid(name: str) -> Any:
    """Return a request that may be spoilt."""
    request = type(VALID[name])()
    request.CopyFrom(VALID[name])
    return request


def send(wire: Wire, name: str, request: Message) -> Any:
    """Send a request to the RPC that takes it; of a stream, return the first message."""
    return first_of(method(wire, name)(request, timeout=TIMEOUT_S))


def method(wire: Wire, name: str) -> Any:
    """Return the stub of an RPC."""
    rpc = name.partition(" ")[0]
    stubs = {GATEKEEPER: wire.gatekeeper, REPORT: wire.reports, ADMIN: wire.admin}
    return getattr(stubs[SERVICE_OF[rpc]], rpc)


def full_name(name: str) -> str:
    """Return the path of an RPC."""
    rpc = name.partition(" ")[0]
    return f"/{SERVICE_OF[rpc]}/{rpc}"


def names_in(message: Message, path: str = "") -> Iterator[tuple[str, Message, str]]:
    """Yield (path, owner, field) of every field of a request that takes a name."""
    for field in message.DESCRIPTOR.fields:
        here = f"{path}.{field.name}" if path else field.name
        if field.containing_oneof and not message.HasField(field.name):
            continue
        if field.type == FieldDescriptor.TYPE_STRING and field.name not in FREE_TEXTS and not field.is_repeated:
            yield here, message, field.name
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        elif field.is_repeated:
            for index, part in enumerate(getattr(message, field.name)):
                yield from names_in(part, f"{here}[{index}]")
        elif message.HasField(field.name):
            yield from names_in(getattr(message, field.name), here)


def owner_of(message: Any, path: str) -> tuple[Any, str]:
    """Return what has the field at the end of a path like `metrics.revenue.units`, and the field."""
    *parts, field = path.split(".")
    for part in parts:
        message = getattr(message, part)
    return message, field


def refused(wire: Wire, name: str, request: Any) -> Refusal:
    """Send what must be refused as INVALID_ARGUMENT, with a word on each field, and must leave no trace."""
    before = wire.counts()
    found = refusal(send, wire, name, request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert found.violations
    assert all(found.violations.values())
    assert found.retry_delay_s is None
    assert wire.counts() == before
    return found
