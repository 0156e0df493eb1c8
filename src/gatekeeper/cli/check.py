"""The command that asks whether anything is wrong, or whether a call can be paid; its exit code is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.domain.budget import Priority

from . import breaches
from .call_check import verdict_on
from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile, amount_option
from .output import print_json

if TYPE_CHECKING:
    from gatekeeper_client import Client

TOKENS_MAX = 1_000_000_000
# So that whoever looks by cron tells a breach from a server that is away.
UNANSWERED = 3


class TierName(StrEnum):
    """How full a budget is when that is a breach."""

    WARNING = "warning"
    CRITICAL = "critical"
    EXCEEDED = "exceeded"


Name = Annotated[
    str, typer.Option(metavar="ID", help="What the call would be for, or whose budgets.", show_default=False)
]
Tokens = Annotated[
    int | None, typer.Option(min=0, max=TOKENS_MAX, metavar="N", help="Priced by the model, or by the agent type.")
]


def check(
    *,
    organization: Organization,
    at: Annotated[
        TierName | None,
        typer.Option(
            case_sensitive=False,
            help="What counts as a breach: 80 %, 95 % or all of a budget.",
            show_default="exceeded",
        ),
    ] = None,
    amount: Annotated[Decimal | None, amount_option("What the call may cost at most.")] = None,
    model: Annotated[str, typer.Option(help="Price tokens of this model.", show_default=False)] = "",
    input_tokens: Tokens = None,
    cached_input_tokens: Tokens = None,
    max_output_tokens: Tokens = None,
    priority: Annotated[
        Priority | None,
        typer.Option(
            metavar="|".join(Priority).lower(),
            case_sensitive=False,
            help="How much the call matters.",
            show_default="normal",
        ),
    ] = None,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    agent_type: Annotated[str, typer.Option(metavar="TYPE", help="Prices its tokens.", show_default=False)] = "",
    run: Name = "",
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for trouble, or ask whether a call can be paid. Exit code 0 if all is well, 1 if not.

    Where a server cannot be asked, or does not answer, the exit code is 3.

    By itself it looks at everything, as cron would: budgets that are used up
    or frozen, alerts of the last 48 hours that no channel took, and what the
    verification of the books found. With --department, --campaign, --agent or
    --run it looks at their budgets and the organization's.

    With an amount, or with tokens, the server decides as it would on the call
    itself, and holds nothing.
    """
    ids = {"department": department, "campaign": campaign, "agent": agent, "run": run}
    tokens = {
        "input_tokens": input_tokens,
        "cached_input_tokens": cached_input_tokens,
        "max_output_tokens": max_output_tokens,
    }
    given = {name: count for name, count in tokens.items() if count is not None}
    is_call = amount is not None or bool(given)
    _require_sense(amount=amount, model=model, tokens=given, at=at, priority=priority, is_call=is_call)
    with (
        _answered(),
        open_client(
            target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
        ) as client,
    ):
        if is_call:
            call = {**ids, "agent_type": agent_type, **_estimate(amount, model, given)}
            if priority is not None:
                call["priority"] = priority.value
            answer = verdict_on(client, organization, call)
        else:
            answer = _look(client, organization, ids, (at or TierName.EXCEEDED).name)
    _tell(answer, answer["admitted" if is_call else "ok"], as_json=as_json)


@contextmanager
def _answered() -> Iterator[None]:
    """Have the exit code of what is no answer differ from an answer's."""
    try:
        yield
    except typer.Exit:
        raise typer.Exit(UNANSWERED) from None


def _require_sense(
    *,
    amount: Decimal | None,
    model: str,
    tokens: dict[str, int],
    at: TierName | None,
    priority: Priority | None,
    is_call: bool,
) -> None:
    """Refuse options that do not go together."""
    faults = {
        "give either --amount or tokens": amount is not None and (tokens or model),
        "--model needs --input-tokens, --max-output-tokens or both": model and not tokens,
        "--priority is a call's: give --amount or tokens too": priority and not is_call,
        "--at is for a look at budgets, not for a call": at and is_call,
    }
    for fault, is_there in faults.items():
        if is_there:
            raise typer.BadParameter(fault)


def _estimate(amount: Decimal | None, model: str, tokens: dict[str, int]) -> dict[str, Any]:
    if amount is not None:
        return {"amount": amount}
    from gatekeeper_client import TokenEstimate

    return {"tokens": TokenEstimate(model=model, **tokens)}


def _look(client: Client, organization: str, ids: dict[str, str], at: str) -> dict[str, Any]:
    if any(ids.values()):
        return breaches.check_scopes(client, organization, ids, at)
    return breaches.check_everything(client, organization, at)


def _tell(answer: dict[str, Any], passed: bool, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["message"])
    if not passed:
        raise typer.Exit(1)
