"""The command that sets a budget."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .amounts import read_amount
from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import print_json
from .statuses import (
    amount_text,
    budget_text,
    enforcement_of,
    floors_of,
    floors_text,
    money_text,
    scope_document,
    scope_text,
    scopes_of,
    status_document,
    window_of,
)

if TYPE_CHECKING:
    from gatekeeper_client.v1.budget_pb2 import Budget

# Those that may be kept from the last of a budget, and how much of it they may use.
PRIORITIES = ("NORMAL", "BATCH")
PERCENT = re.compile("[0-9]{1,3}", re.ASCII)
PERCENT_MAX = 100


class WindowName(StrEnum):
    """How long a period lasts."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class EnforcementName(StrEnum):
    """What happens to calls beyond the cap."""

    ENFORCE = "enforce"
    WARN = "warn"
    SHADOW = "shadow"


def read_floor(text: str) -> tuple[str, int]:
    """Read where a priority stops, such as batch=90; raise typer.BadParameter for what is none."""
    name, _, percent = text.partition("=")
    if name.upper() not in PRIORITIES or not PERCENT.fullmatch(percent) or not 1 <= int(percent) <= PERCENT_MAX:
        message = f"{text!r} is not like batch=90 or normal=97, in percent of the cap; 100 for no floor"
        raise typer.BadParameter(message)
    return name.upper(), int(percent)


Name = Annotated[str, typer.Option(metavar="ID", help="Cap this one, not the organization.", show_default=False)]


def cap(
    *,
    organization: Organization,
    amount: Annotated[
        Decimal | None,
        typer.Argument(metavar="AMOUNT", parser=read_amount, help="The cap of each period; unset: stays."),
    ] = None,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    run: Name = "",
    window: Annotated[
        WindowName, typer.Option(case_sensitive=False, help="How long a period lasts.")
    ] = WindowName.MONTH,
    enforcement: Annotated[
        EnforcementName | None,
        typer.Option(case_sensitive=False, help="What happens to calls beyond the cap.", show_default="stays"),
    ] = None,
    threshold: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1000, metavar="PERCENT", help="Worth an alert; repeatable, ascending."),
    ] = None,
    floor: Annotated[
        list[Any] | None,
        typer.Option(
            metavar="PRIORITY=PERCENT",
            parser=read_floor,
            help="Where calls of a priority (batch, normal) stop, to keep the rest for others; repeatable.",
        ),
    ] = None,
    freeze: Annotated[
        bool | None, typer.Option("--freeze/--thaw", help="Deny every call at once, or no more.", show_default="stays")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who read the history.", show_default=False)] = "",
    etag: Annotated[str, typer.Option(help="Change only what you have seen.", show_default=False)] = "",
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Set a budget's cap, how hard it is, and whether it is frozen. What is not given stays as it is."""
    ids = {"department": department, "campaign": campaign, "agent": agent, "run": run}
    scopes = scopes_of(**{name: [scope_id] if scope_id else [] for name, scope_id in ids.items()})
    if len(scopes) > 1:
        message = "give one of --department, --campaign, --agent and --run"
        raise typer.BadParameter(message)
    given: dict[str, Any] = {
        "cap": amount,
        "enforcement": enforcement and enforcement.name,
        "thresholds": threshold,
        "floors": dict(floor) if floor else None,
        "frozen": freeze,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        message = "nothing to change: give AMOUNT, --enforcement, --threshold, --floor, --freeze or --thaw"
        raise typer.BadParameter(message)
    if scopes:
        changes["scope"] = scopes[0]
    asked: dict[str, Any] = {"window": window.name, "reason": reason, "etag": etag}
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        answer = client.set_cap(organization, **changes, **asked)
    if as_json:
        print_json({"organization": organization, **_document(answer.budget)})
    else:
        typer.echo(_text(organization, answer.budget))


def _document(budget: Budget) -> dict[str, Any]:
    return {
        "scope": scope_document(budget.scope),
        "window": window_of(budget.window),
        "cap": amount_text(budget.cap),
        "currency": budget.cap.currency_code,
        "enforcement": enforcement_of(budget.enforcement),
        "thresholds": list(budget.thresholds),
        "floors": floors_of(budget),
        "frozen": budget.frozen,
        "reason": budget.reason,
        "etag": budget.etag,
        "update_time": budget.update_time.ToJsonString(),
        "status": status_document(budget.status),
    }


def _text(organization: str, budget: Budget) -> str:
    window = window_of(budget.window).lower()
    terms = [
        f"{money_text(budget.cap)} {'in total' if window == 'total' else f'a {window}'}",
        enforcement_of(budget.enforcement),
        f"alerts at {', '.join(map(str, budget.thresholds))} %",
        *([floors_text(floors)] if (floors := floors_of(budget)) else []),
        *(["FROZEN"] if budget.frozen else []),
        f"etag {budget.etag}",
    ]
    status = budget.status
    amounts = {"spent": status.spent, "held": status.reserved, "left": status.available}
    standing = ", ".join(f"{amount_text(amount)} {name}" for name, amount in amounts.items())
    return f"{organization}, {scope_text(budget.scope)}: {', '.join(terms)}.\n{budget_text(status)}: {standing}."
