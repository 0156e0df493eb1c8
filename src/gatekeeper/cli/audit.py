"""The command that lists the audit trail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.domain.audit import AuditAction

from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Target, TokenFile
from .output import console, print_json, print_table, shown

if TYPE_CHECKING:
    from gatekeeper_client import fields
    from gatekeeper_client.v1.audit_pb2 import AuditEvent

COLUMNS = ("Time (UTC)", "Action", "Actor", "From", "Subject", "What", "Why", "Link")
NUMBERS = ("Link",)
OPTIONAL = ("Link", "From", "Why", "Subject", "Actor")
# What the table tells of a denial; everything else is in the JSON.
DENIAL_NAMES = ("reason", "requested", "shortfall", "budget")
LIMIT_DEFAULT = 100
PAGE_SIZE_MAX = 1000


def read_instant(text: str) -> datetime:
    """Read an instant like 2026-11-20 or 2026-11-20T15:30+01:00, in UTC unless it says otherwise."""
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is not an instant like 2026-11-20 or 2026-11-20T15:30:00Z"
        raise typer.BadParameter(message) from None


def audit(
    *,
    organization: Annotated[
        str,
        typer.Option(help='Whose; "" for what concerns the whole installation.', envvar="GATEKEEPER_ORGANIZATION"),
    ],
    action: Annotated[
        AuditAction | None,
        typer.Option(
            metavar="ACTION",
            case_sensitive=False,
            help="Only what was done this way, such as BUDGET_SET or CALL_DENIED.",
            show_default="all",
        ),
    ] = None,
    actor: Annotated[str, typer.Option(help="Only what this one did.", show_default="everyone")] = "",
    since: Annotated[
        datetime | None,
        typer.Option(metavar="INSTANT", parser=read_instant, help="Only what was done then or later; UTC."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="INSTANT", parser=read_instant, help="Only what was done before; UTC.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many entries.", show_default=f"{LIMIT_DEFAULT}; all with --json-lines"),
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print one JSON document a line, for export; newest first.")
    ] = False,
) -> None:
    """List the audit trail, newest first: every change and every denial."""
    if not json_lines:
        limit = limit or LIMIT_DEFAULT
    which = _which(action, actor, since, until, limit)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = islice(client.list_audit_events(organization, **which), limit)
        if json_lines:
            for event in found:
                typer.echo(json.dumps(_document(event), ensure_ascii=False))
            return
        events = list(found)
    if as_json:
        print_json({"organization": organization, "audit_events": [_document(event) for event in events]})
    elif events:
        print_table(COLUMNS, [_row(event) for event in events], right=NUMBERS, optional=OPTIONAL)
    else:
        console().print("The trail has no such entry.")


def _which(
    action: AuditAction | None, actor: str, since: datetime | None, until: datetime | None, limit: int | None
) -> fields.AuditEvents:
    which: fields.AuditEvents = {"actor": actor, "page_size": min(limit or PAGE_SIZE_MAX, PAGE_SIZE_MAX)}
    if action is not None:
        which["action"] = action.value
    if since is not None:
        which["start_time"] = since
    if until is not None:
        which["end_time"] = until
    return which


def _document(event: AuditEvent) -> dict[str, Any]:
    """Return an entry for programs."""
    return {
        "event_id": event.event_id,
        "organization": event.organization,
        "event_time": event.event_time.ToDatetime(UTC).isoformat(timespec="microseconds"),
        "action": _action(event),
        "actor": event.actor,
        "actor_token_id": event.actor_token_id,
        "actor_role": event.actor_role,
        "peer": event.peer,
        "subject": event.subject,
        "before": _content(event.before_json),
        "after": _content(event.after_json),
        "reason": event.reason,
        "sequence": event.sequence,
        "link": event.link,
    }


def _action(event: AuditEvent) -> str:
    from gatekeeper_client.v1.audit_pb2 import AuditAction as Wire

    return Wire.Name(event.action).removeprefix("AUDIT_ACTION_")


def _content(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def _row(event: AuditEvent) -> list[str]:
    return [
        f"{event.event_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}",
        _action(event),
        shown(f"{event.actor} ({event.actor_role.lower()})" if event.actor_role else event.actor),
        shown(event.peer),
        shown(event.subject),
        shown(_what(event)),
        shown(event.reason),
        str(event.sequence or ""),
    ]


def _what(event: AuditEvent) -> str:
    """Tell what was not the same before and after."""
    before, after = _content(event.before_json) or {}, _content(event.after_json) or {}
    if _action(event) == AuditAction.CALL_DENIED:
        return ", ".join(f"{name} {after[name]}" for name in DENIAL_NAMES if name in after).removeprefix("reason ")
    return ", ".join(
        f"{name} {before[name]} -> {after.get(name) or 'nothing'}" if before.get(name) else f"{name} {after[name]}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )
