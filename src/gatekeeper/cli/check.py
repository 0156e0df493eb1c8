"""The command that asks whether a budget can pay; its exit code is the answer."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile, amount_option
from .output import print_json
from .statuses import (
    amount_text,
    budget_text,
    is_blocked,
    money_text,
    scopes_of,
    status_document,
    tightest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatekeeper_client import Client, Denied, Hold
    from gatekeeper_client.v1.budget_pb2 import BudgetStatus

TOKENS_MAX = 1_000_000_000

Name = Annotated[str, typer.Option(metavar="ID", help="What the call would be for.", show_default=False)]
Tokens = Annotated[
    int | None, typer.Option(min=0, max=TOKENS_MAX, metavar="N", help="Priced by the model, or by the agent type.")
]


def check(
    *,
    organization: Organization,
    amount: Annotated[Decimal | None, amount_option("What the call may cost at most.")] = None,
    model: Annotated[str, typer.Option(help="Price tokens of this model.", show_default=False)] = "",
    input_tokens: Tokens = None,
    cached_input_tokens: Tokens = None,
    max_output_tokens: Tokens = None,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    agent_type: Name = "",
    run: Name = "",
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether a call can be paid: exit code 0 if it can, 1 if not.

    With an amount, or with tokens, the server decides as it would on the call
    itself, and holds nothing. Without, it tells whether any room is left.
    """
    call: dict[str, Any] = {
        "department": department,
        "campaign": campaign,
        "agent": agent,
        "agent_type": agent_type,
        "run": run,
    }
    tokens = {
        "input_tokens": input_tokens,
        "cached_input_tokens": cached_input_tokens,
        "max_output_tokens": max_output_tokens,
    }
    given = {name: count for name, count in tokens.items() if count is not None}
    if amount is not None and (given or model):
        message = "give either --amount or tokens"
        raise typer.BadParameter(message)
    if model and not given:
        message = "--model needs --input-tokens, --max-output-tokens or both"
        raise typer.BadParameter(message)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        if amount is None and not given:
            answer = _of_status(client, organization, call)
        else:
            answer = _of_reserve(client, organization, call, _estimate(amount, model, given))
    _tell(answer, as_json=as_json)


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["message"])
    if not answer["admitted"]:
        raise typer.Exit(1)


def _estimate(amount: Decimal | None, model: str, tokens: dict[str, int]) -> dict[str, Any]:
    if amount is not None:
        return {"amount": amount}
    from gatekeeper_client import TokenEstimate

    return {"tokens": TokenEstimate(model=model, **tokens)}


def _of_status(client: Client, organization: str, call: dict[str, Any]) -> dict[str, Any]:
    """Answer by what is left."""
    ids = {name: [call[name]] if call[name] else [] for name in ("department", "campaign", "agent", "run")}
    scopes = scopes_of(**ids)
    status = client.get_status(organization, scopes=scopes)
    asked = [budget for budget in status.budgets if scopes or not budget.scope.id]
    if status.can_execute:
        message = f"Yes: {_room(asked)}"
    else:
        message = f"No: {_obstacle(next(budget for budget in asked if is_blocked(budget)))}"
    return {
        "organization": organization,
        "admitted": status.can_execute,
        "message": message,
        "budgets": [status_document(budget) for budget in asked],
    }


def _obstacle(budget: BudgetStatus) -> str:
    if budget.frozen:
        return f"{budget_text(budget)} is frozen."
    used = f"{amount_text(budget.spent)} spent and {amount_text(budget.reserved)} held of {money_text(budget.cap)}"
    return f"{budget_text(budget)} is used up: {used}."


def _room(budgets: Sequence[BudgetStatus]) -> str:
    least = tightest(budgets)
    if least is None:
        return "no enforced budget limits it."
    return f"{money_text(least.available)} left in {budget_text(least)}."


def _of_reserve(client: Client, organization: str, call: dict[str, Any], estimate: dict[str, Any]) -> dict[str, Any]:
    """Answer by the verdict on a reservation that is not made."""
    verdict = client.reserve(organization, **call, **estimate, validate_only=True)
    answer = _of_denial(verdict) if not verdict.admitted else _of_hold(verdict)
    return {
        "organization": organization,
        "admitted": verdict.admitted,
        **answer,
        "budgets": [status_document(budget) for budget in verdict.budgets],
    }


def _of_hold(hold: Hold) -> dict[str, Any]:
    amount = hold.reservation.amount
    return {
        "message": f"Yes: {money_text(amount)} can be paid; {_room(hold.budgets)}",
        "amount": amount_text(amount),
        "currency": amount.currency_code,
        "would_deny": hold.reservation.would_deny,
    }


def _of_denial(denied: Denied) -> dict[str, Any]:
    from gatekeeper_client.v1.reservation_pb2 import DenialReason

    denial = denied.denial
    headroom_at = denial.headroom_time.ToDatetime(UTC).isoformat() if denial.HasField("headroom_time") else None
    priced = denial.HasField("requested")
    return {
        "message": f"No: {denial.message}",
        "reason": DenialReason.Name(denial.reason).removeprefix("DENIAL_REASON_"),
        "amount": amount_text(denial.requested) if priced else None,
        "currency": denial.requested.currency_code if priced else None,
        "shortfall": amount_text(denial.shortfall) if priced else None,
        "headroom_time": headroom_at,
    }
