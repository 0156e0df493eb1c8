"""The commands that tell what money went for: a month, what it is made of, and each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatekeeper.domain.reservation import ExecutionKind, Outcome

from .audit import read_instant
from .connection import open_client
from .csv_output import print_csv
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import console, counted, print_json, print_table, shown

if TYPE_CHECKING:
    from gatekeeper_client import fields
    from gatekeeper_client.v1.report_service_pb2 import GetSpendSummaryResponse

LIMIT_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000

app = typer.Typer(help="Tell what money went for.", rich_markup_mode=None, no_args_is_help=True)

Month = Annotated[str, typer.Argument(metavar="[YYYY-MM]", help="Which month.", show_default="the current one")]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        metavar="INSTANT", parser=read_instant, help="Only what was recorded before; UTC.", show_default="now"
    ),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="At most so many.", show_default=f"{LIMIT_DEFAULT} in a table, else all"),
]
Name = Annotated[str, typer.Option(metavar="ID", help="Only this one's.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of a month's spend: the names that it goes by, and the client's method that has it."""

    noun: str
    names: Sequence[str]
    method: str


LISTINGS: Final = (
    Listing(noun="campaigns", names=("campaign",), method="list_campaign_spend"),
    Listing(noun="departments", names=("department",), method="list_department_spend"),
    Listing(noun="agents", names=("agent", "agent_type"), method="list_agent_spend"),
    Listing(noun="models", names=("model",), method="list_model_spend"),
)


@app.command()
def summary(
    period: Month = "",
    *,
    organization: Organization,
    as_of: AsOf = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what a month has cost: its figures, each day, and the month before.

    With --csv, a row for each day.
    """
    _check_format(as_json=as_json, as_csv=as_csv)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = client.get_spend_summary(organization, **_month(period, as_of))
    from .spend_texts import summary_document

    if as_json:
        print_json(summary_document(found))
    elif as_csv:
        from gatekeeper_client import from_money

        print_csv(
            ("day", "currency", "cost", "calls"),
            ((day.day, day.cost.currency_code, from_money(day.cost), day.calls) for day in found.days),
        )
    else:
        _print_summary(found)


def _command(listing: Listing) -> Callable[..., None]:
    def command(
        period: Month = "",
        *,
        organization: Organization,
        as_of: AsOf = None,
        limit: Limit = None,
        target: Target = None,
        token_file: TokenFile = None,
        ca_file: CaFile = None,
        certificate_file: CertificateFile = None,
        key_file: KeyFile = None,
        as_json: AsJson = False,
        as_csv: AsCsv = False,
    ) -> None:
        _check_format(as_json=as_json, as_csv=as_csv)
        most = limit if as_json or as_csv else limit or LIMIT_DEFAULT
        with open_client(
            target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
        ) as client:
            which: fields.SpendList = {**_month(period, as_of), "page_size": PAGE_SIZE_MAX}
            found = list(getattr(client, listing.method)(organization, **which))
        _print_listing(listing, organization, found[:most], as_json=as_json, as_csv=as_csv)
        if found[:most] != found and not (as_json or as_csv):
            typer.echo(f"And {len(found[most:]):,} more; --limit tells how many to show.")

    command.__doc__ = f"List a month's spend by {' and '.join(listing.names).replace('_', ' ')}, the dearest first."
    return command


for _listing in LISTINGS:
    app.command(_listing.noun)(_command(_listing))


@app.command()
def executions(
    period: Annotated[
        str, typer.Argument(metavar="[YYYY-MM[-DD]]", help="Only this month's or day's.", show_default="all")
    ] = "",
    *,
    organization: Organization,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    run: Name = "",
    model: Name = "",
    outcome: Annotated[
        Outcome | None,
        typer.Option(metavar="|".join(Outcome).lower(), case_sensitive=False, help="Only those that went this way."),
    ] = None,
    kind: Annotated[
        ExecutionKind | None,
        typer.Option(metavar="|".join(ExecutionKind).lower(), case_sensitive=False, help="Only entries of this kind."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many.", show_default=f"{LIMIT_DEFAULT}; all with --csv")
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the entries of the billing log, newest first: what each call has cost."""
    _check_format(as_json=as_json, as_csv=as_csv)
    limit = limit if as_csv else limit or LIMIT_DEFAULT
    names = {"department": department, "campaign": campaign, "agent": agent, "run": run, "model": model}
    which: fields.Executions = {"period": period, "page_size": min(limit or PAGE_SIZE_MAX, PAGE_SIZE_MAX), **names}  # type: ignore[typeddict-item]
    if outcome is not None:
        which["outcome"] = outcome.value
    if kind is not None:
        which["kind"] = kind.value
    from .spend_texts import EXECUTION_COLUMNS, EXECUTION_CSV_COLUMNS, execution_cells, execution_document
    from .spend_texts import execution_row as row

    with (
        open_client(
            target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
        ) as client,
        counted(islice(client.list_executions(organization, **which), limit), limit) as found,
    ):
        if as_csv:
            first = list(islice(found, 1))  # before the head, which would stand alone where there is no answer
            print_csv(EXECUTION_CSV_COLUMNS, map(execution_cells, chain(first, found)))
            return
        listed = list(found)
    if as_json:
        print_json({"organization": organization, "executions": [execution_document(each) for each in listed]})
    elif listed:
        rows = [row(each) for each in listed]
        print_table(EXECUTION_COLUMNS, rows, right=("Cost", "Held"), optional=("Held", "Agent", "Outcome", "Model"))
    else:
        typer.echo("No executions.")


def _check_format(*, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        message = "give either --json or --csv"
        raise typer.BadParameter(message)


def _month(period: str, as_of: datetime | None) -> fields.Month:
    month: fields.Month = {"period": period}
    if as_of is not None:
        month["as_of"] = as_of
    return month


def _print_summary(found: GetSpendSummaryResponse) -> None:
    from .spend_texts import DAY_COLUMNS, summary_lines
    from .status_table import COLUMNS, NUMBERS, OPTIONAL, budget_row
    from .statuses import amount_text

    console().print(f"{shown(found.organization)}, {found.period}, amounts in {found.spend.cost.currency_code}")
    print_table(("", "Month"), summary_lines(found), right=("Month",))
    if found.HasField("budget"):
        print_table(COLUMNS, [budget_row(found.budget)], right=NUMBERS, optional=OPTIONAL)
    days = [[day.day, amount_text(day.cost), f"{day.calls:,}"] for day in found.days]
    print_table(DAY_COLUMNS, days, right=DAY_COLUMNS[1:])


def _print_listing(listing: Listing, organization: str, found: Sequence[Any], *, as_json: bool, as_csv: bool) -> None:
    from .spend_texts import COLUMNS, CSV_COLUMNS, OPTIONAL, entry_document, entry_row, spend_cells

    names = listing.names
    if as_json:
        print_json({"organization": organization, listing.noun: [entry_document(each, names) for each in found]})
    elif as_csv:
        rows = ([*(getattr(each, name) for name in names), *spend_cells(each.spend)] for each in found)
        print_csv((*names, *CSV_COLUMNS), rows)
    elif found:
        heads = [name.replace("_", " ").capitalize() for name in names]
        lines = [entry_row(each, names) for each in found]
        print_table((*heads, *COLUMNS), lines, right=COLUMNS, optional=OPTIONAL)
    else:
        typer.echo("Nothing was spent.")
