"""The command that tells what has happened to a budget in a month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .connection import open_client
from .months import MONTH_TIMEOUT_S, Month, one_scope
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import print_json, print_table
from .override_texts import instant_text
from .statuses import amount_text, money_text, scope_document, scope_text

if TYPE_CHECKING:
    from gatekeeper_client.v1.spend_pb2 import Statement

MOVEMENTS: Final = ("holds", "releases", "expiries", "settled_holds", "commits")
PARTS: Final = ("overage", "override_use")
COLUMNS: Final = ("What", "Count", "Amount")


def statement(
    period: Month = "",
    *,
    organization: Organization,
    department: Annotated[str | None, typer.Option(help="The budget of this department.")] = None,
    campaign: Annotated[str | None, typer.Option(help="The budget of this campaign.")] = None,
    agent: Annotated[str | None, typer.Option(help="The budget of this agent.")] = None,
    run: Annotated[str | None, typer.Option(help="The budget of this run.")] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell what has happened to a monthly budget: what was available, what moved it, and what is left.

    The organization's budget, unless another is named.
    """
    scope = one_scope(department=department, campaign=campaign, agent=agent, run=run)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = client.get_statement(organization, period=period, timeout_s=MONTH_TIMEOUT_S, **scope).statement
    if as_json:
        print_json(statement_document(found))
        return
    typer.echo(f"{scope_text(found.scope)}, {found.period}, under a cap of {money_text(found.cap)}:")
    lines = [_row(found, name) for name in MOVEMENTS]
    parts = [_row(found, name) for name in PARTS]
    opening = ["Available when it began", "", amount_text(found.opening_balance)]
    closing = ["Left", "", amount_text(found.closing_balance)]
    print_table(COLUMNS, [opening, *lines, closing, *parts], right=COLUMNS[1:])


def _row(found: Statement, name: str) -> list[str]:
    line = getattr(found, name)
    return [line.description, f"{line.count}", amount_text(line.amount)]


def statement_document(found: Statement) -> dict[str, Any]:
    """Return a statement for programs: amounts are strings."""
    return {
        "organization": found.organization,
        "scope": scope_document(found.scope),
        "period": found.period,
        "currency": found.cap.currency_code,
        "cap": amount_text(found.cap),
        "opening_balance": amount_text(found.opening_balance),
        **{name: _line_document(found, name) for name in (*MOVEMENTS, *PARTS)},
        "closing_balance": amount_text(found.closing_balance),
        "read_time": instant_text(found.read_time),
    }


def _line_document(found: Statement, name: str) -> dict[str, Any]:
    line = getattr(found, name)
    return {"description": line.description, "amount": amount_text(line.amount), "count": line.count}
