"""How do requests about overrides become what is asked of them, and overrides messages?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gatekeeper.domain import errors
from gatekeeper.domain.access import Actor
from gatekeeper.domain.grants import AT_START, TTL_DEFAULT, Approval, Terms
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.override_steps import Target
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.services.overrides import Decided, Grants
from gatekeeper.storage.override_lists import Listed
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import override_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .money import read_money, write_money
from .paging import page_size, read_instant, read_token, write_token
from .translate import read_duration, read_scope, write_scope, write_time

OVERRIDE_STATES = {state: override_pb2.OverrideState.Value(f"OVERRIDE_STATE_{state}") for state in OverrideState}
OVERRIDE_STATE_OF = {value: state for state, value in OVERRIDE_STATES.items()}
OPEN = frozenset({OverrideState.PENDING, OverrideState.ACTIVE})


async def set_override(grants: Grants, request: pb.SetOverrideRequest, actor: Actor) -> pb.SetOverrideResponse:
    """Do what an admin wants of an override: make or approve it, or end or decline it."""
    organization, override_id = request.organization, request.override_id
    reason = _read_reason(request)
    if request.enabled and override_id:
        return _set(await grants.approve(organization, override_id, _read_approval(request), actor))
    if request.enabled:
        terms = replace(read_terms(request), override_id=_read_request_id(request))
        return _set(await grants.turn_on(organization, terms, actor))
    if override_id:
        ended = await grants.end(organization, override_id, reason, actor)
    else:
        ended = await grants.end_all(organization, read_target(request), reason, actor)
    answer = _set(ended)
    answer.ended.extend(each for each in write_overrides(ended) if each.HasField("end_time"))
    return answer


async def request_override(
    grants: Grants, request: pb.RequestOverrideRequest, actor: Actor
) -> pb.RequestOverrideResponse:
    """Ask the admins for an override."""
    asked = await grants.request(request.organization, read_terms(request), actor)
    return pb.RequestOverrideResponse(override=write_overrides(asked)[0])


async def list_overrides(grants: Grants, request: report_pb.ListOverridesRequest) -> report_pb.ListOverridesResponse:
    """List an organization's overrides, newest first, with what each has cost and who used it."""
    position = read_token(request, 2)
    after = None if position is None else (read_instant(position[0]), position[1])
    state = OVERRIDE_STATE_OF.get(request.state)
    page = await grants.page(request.organization, state, after, page_size(request.page_size))
    name, currency = page.organization.organization, page.organization.currency
    return report_pb.ListOverridesResponse(
        overrides=[_write_listed(listed, name, currency, page.now) for listed in page.entries],
        next_page_token=write_token(request, page.after),
    )


def read_target(request: pb.SetOverrideRequest | pb.RequestOverrideRequest) -> Target:
    """Read which calls an override is for: of the whole organization, unless it says."""
    if request.WhichOneof("target") == "reservation":
        return Target(None, request.reservation)
    return Target(read_scope(request.scope, "scope"))


def read_terms(request: pb.SetOverrideRequest | pb.RequestOverrideRequest) -> Terms:
    """Read what is to be granted. Raises `InvalidField`."""
    if not request.HasField("max_amount"):
        raise errors.InvalidField(field="max_amount", problem="is required: the most that it pays beyond the caps")
    return Terms(
        target=read_target(request),
        max_amount=read_money(request.max_amount, "max_amount"),
        reason=_read_reason(request),
        ttl=read_duration(request.ttl, "ttl") if request.HasField("ttl") else TTL_DEFAULT,
    )


def _read_approval(request: pb.SetOverrideRequest) -> Approval:
    return Approval(
        reason=_read_reason(request),
        max_amount=read_money(request.max_amount, "max_amount") if request.HasField("max_amount") else None,
        ttl=read_duration(request.ttl, "ttl") if request.HasField("ttl") else None,
    )


def _read_request_id(request: pb.SetOverrideRequest) -> str:
    if request.request_id.startswith(AT_START):
        raise errors.InvalidField(field="request_id", problem=f"must not begin with {AT_START}: servers' own do")
    return request.request_id


def _read_reason(request: pb.SetOverrideRequest | pb.RequestOverrideRequest) -> str:
    if not request.reason.strip():
        raise errors.InvalidField(field="reason", problem="must say why, for those who read the history")
    return request.reason


def write_override(override: Override, organization: str, currency: str, now: datetime) -> override_pb2.Override:
    """Write an override as it stands at `now`."""
    state = override.state_at(now)
    written = override_pb2.Override(
        override_id=override.override_id,
        organization=organization,
        state=OVERRIDE_STATES[state],
        max_amount=write_money(override.max_amount, currency),
        spent=write_money(override.spent, currency),
        reserved=write_money(override.reserved, currency),
        remaining=write_money(override.remaining if state in OPEN else ZERO, currency),
        create_time=write_time(override.created_at),
        expire_time=write_time(override.expires_at),
        end_time=write_time(override.ended_at),
        reason=override.reason,
        requested_by=override.requested_by,
        granted_by=override.granted_by,
        approved_by=override.approved_by,
        ended_by=override.ended_by,
        call_scopes=[write_scope(scope) for scope in override.bound_scopes or ()],
    )
    if override.scope is None:
        written.reservation_id = override.reservation_id
    else:
        written.scope.CopyFrom(write_scope(override.scope))
    return written


def write_overrides(decided: Decided) -> list[override_pb2.Override]:
    """Write overrides as they are after what was done."""
    name, currency = decided.organization.organization, decided.organization.currency
    return [write_override(override, name, currency, decided.now) for override in decided.overrides]


def _set(decided: Decided) -> pb.SetOverrideResponse:
    """Write the newest of what was done; nothing where there was none."""
    written = write_overrides(decided)
    return pb.SetOverrideResponse(override=written[0] if written else None)


def _write_listed(listed: Listed, organization: str, currency: str, now: datetime) -> override_pb2.Override:
    written = write_override(listed.override, organization, currency, now)
    written.use_count = listed.use_count
    written.uses.extend(_write_uses(listed, currency))
    return written


def _write_uses(listed: Listed, currency: str) -> Sequence[override_pb2.OverrideUse]:
    return [
        override_pb2.OverrideUse(
            override_id=listed.override.override_id,
            amount=write_money(use.amount, currency),
            reservation_id=use.reservation_id,
            agent=use.agent,
            run=use.run,
            create_time=write_time(use.created_at),
        )
        for use in listed.uses
    ]
