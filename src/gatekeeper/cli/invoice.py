"""The command that issues invoices, and writes their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from gatekeeper.domain.invoice_formats import InvoiceFormat

from .connection import open_client
from .invoice_files import Exported, FileFailed, Progress, folder_name, write_files
from .invoice_mail import NotSent, open_mail, send
from .invoice_texts import COLUMNS, NUMBERS, OPTIONAL, invoice_document, invoice_row, invoice_text, seller_warning
from .options import AsJson, CaFile, CertificateFile, KeyFile, Target, TokenFile, fail
from .output import print_json, print_table

if TYPE_CHECKING:
    from apprise import Apprise

    from gatekeeper_client import Client, GatekeeperError, fields
    from gatekeeper_client.v1.invoice_pb2 import Invoice

MONTH: Final = re.compile("[0-9]{4}-(0[1-9]|1[0-2])")
LIMIT_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000
NOTHING: Final = "NOTHING_TO_INVOICE"


def _read_format(text: str) -> InvoiceFormat:
    try:
        return InvoiceFormat(text.upper().replace("-", "_"))
    except ValueError:
        names = ", ".join(InvoiceFormat).lower().replace("_", "-")
        message = f"{text!r} is none of {names}"
        raise typer.BadParameter(message) from None


def invoice(
    period: Annotated[
        str | None, typer.Argument(metavar="YYYY-MM", help="The month.", show_default="the last one that is over")
    ] = None,
    *,
    organization: Annotated[
        str | None, typer.Option(help="Whose invoice.", envvar="GATEKEEPER_ORGANIZATION", show_default=False)
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Of every organization that the token sees, each into a folder of its own.")
    ] = False,
    formats: Annotated[
        list[InvoiceFormat] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            parser=_read_format,
            help="pdf, csv (a row for each execution), csv-lines, focus, json; ubl, cii, factur-x with the server's"
            " extra einvoice. Repeatable.",
            show_default="pdf",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the files go.", file_okay=False, show_default="here")
    ] = Path(),
    draft: Annotated[bool, typer.Option("--draft", help="Show what would be issued, and issue nothing.")] = False,
    number: Annotated[str | None, typer.Option(help="One that was issued, instead of a month.")] = None,
    credit: Annotated[str | None, typer.Option(metavar="NUMBER", help="Take this invoice back first.")] = None,
    reason: Annotated[str, typer.Option(help="Why, with --credit; it stands on the credit note.")] = "",
    as_list: Annotated[bool, typer.Option("--list", help="List what was issued, newest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --list, at most so many.")] = LIMIT_DEFAULT,
    apprise_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with an Apprise URL a line: the PDF is sent there, once."),
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Issue a month's invoice, once, and write its files.

    Whoever asks again gets the same invoice and the same files. The current
    month is always a draft. With --credit, writes the credit note. With --all,
    goes on after a failure and exits with 1; meant for a monthly job.
    """
    asked = _Asked(
        period=period, number=number, draft=draft, credit=credit, reason=reason, every=every, as_list=as_list
    )
    asked.check(organization, apprise_file, formats)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        if as_list:
            assert organization is not None
            _print_list(list(islice(_listed(client, organization, period, limit), limit)), as_json=as_json)
            return
        mail = _opened(apprise_file)
        run = _Run(client, asked, formats or [InvoiceFormat.PDF], output, mail)
        if every:
            _run_all(run, as_json=as_json)
            return
        assert organization is not None
        exported = _told(run, organization)
    if as_json:
        print_json(invoice_document(exported.invoice, exported.paths))
    else:
        typer.echo(invoice_text(exported.invoice, exported.paths))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is wanted."""

    period: str | None
    number: str | None
    draft: bool
    credit: str | None
    reason: str
    every: bool
    as_list: bool

    def check(
        self, organization: str | None, apprise_file: Path | None, formats: Sequence[InvoiceFormat] | None
    ) -> None:
        """Refuse what does not fit together. Raises `typer.BadParameter`."""
        if self.period is not None and not MONTH.fullmatch(self.period):
            _refuse(f"{self.period!r} is not a month like 2026-11", "YYYY-MM")
        if not self.every and organization is None:
            _refuse("is needed, or --all", "--organization")
        if self.every and any((self.number, self.credit, self.as_list, self.draft)):
            _refuse("takes no --number, --credit, --list or --draft", "--all")
        if self.as_list and any((self.number, self.credit, self.draft, formats)):
            _refuse("takes no --number, --credit, --draft or --format", "--list")
        if self.number and self.draft:
            _refuse("takes no --draft: what was issued is none", "--number")
        if self.credit and any((self.number, self.period, self.draft)):
            _refuse("takes no month, --number or --draft", "--credit")
        if bool(self.credit) != bool(self.reason.strip()):
            _refuse("goes with --credit, and is needed there", "--reason")
        pdfs = {InvoiceFormat.PDF, InvoiceFormat.FACTUR_X}
        if apprise_file and (self.draft or self.as_list or not pdfs & set(formats or pdfs)):
            _refuse("sends a PDF that is issued: no --draft or --list, and --format pdf among others", "--apprise-file")


@dataclass(frozen=True, slots=True)
class _Run:
    """Who is asked, for what, and where it goes."""

    client: Client
    asked: _Asked
    formats: Sequence[InvoiceFormat]
    output: Path
    mail: Apprise | None

    def export(self, organization: str, folder: Path) -> Exported:
        """Issue an organization's invoice, write its files, and send it. Raises `FileFailed` or `NotSent`."""
        which: fields.ExportInvoice = {"formats": [each.value for each in self.formats]}
        number = self.asked.number
        if self.asked.credit:
            credited = self.client.credit_invoice(organization, self.asked.credit, reason=self.asked.reason)
            number = credited.invoice.number
        if number:
            which["number"] = number
        if self.asked.period or not number:
            which["period"] = self.asked.period or _last_month(self.client, organization)
        if self.asked.draft:
            which["draft"] = True
        with _progress() as progress:
            exported = write_files(self.client.export_invoice(organization, **which), folder, progress)
        if not self.asked.number and (warning := seller_warning(exported.invoice)):
            typer.echo(f"gatekeeper: {warning}", err=True)
        if self.mail is not None and exported.invoice.number:
            send(self.mail, exported)
        return exported


def _last_month(client: Client, organization: str) -> str:
    """Return the month before the current one, by the organization's calendar as the server tells it."""
    budgets = client.get_status(organization).budgets
    periods = [status.period[:7] for status in budgets if MONTH.match(status.period)]
    current = max(periods, default=f"{datetime.now(UTC):%Y-%m}")
    return f"{datetime.fromisoformat(f'{current}-01') - timedelta(days=1):%Y-%m}"


def _told(run: _Run, organization: str) -> Exported:
    try:
        return run.export(organization, run.output)
    except (FileFailed, NotSent) as error:
        fail(str(error))


def _run_all(run: _Run, *, as_json: bool) -> None:
    """Issue the invoices of every organization; what fails is told, and does not keep the others."""
    from gatekeeper_client import GatekeeperError

    done: list[Exported] = []
    failed: list[dict[str, str]] = []
    names = [each.organization for each in run.client.list_organizations()]
    for name in names:
        try:
            exported = run.export(name, run.output / folder_name(name))
        except (GatekeeperError, FileFailed, NotSent) as error:
            if not _is_nothing(error):
                problem = error.message if isinstance(error, GatekeeperError) else str(error)
                failed.append({"organization": name, "problem": problem})
                typer.echo(f"gatekeeper: {name!r}: {problem}", err=True)
            continue
        done.append(exported)
        if not as_json:
            typer.echo(invoice_text(exported.invoice, exported.paths))
    if as_json:
        print_json({"invoices": [invoice_document(each.invoice, each.paths) for each in done], "failed": failed})
    if failed:
        raise typer.Exit(1)


def _is_nothing(error: GatekeeperError | FileFailed | NotSent) -> bool:
    """Tell whether a month has no executions, and the server issues no invoice over nothing."""
    return getattr(error, "reason", "") == NOTHING


def _opened(apprise_file: Path | None) -> Apprise | None:
    try:
        return None if apprise_file is None else open_mail(apprise_file)
    except NotSent as error:
        _refuse(str(error), "--apprise-file")


def _listed(client: Client, organization: str, period: str | None, limit: int) -> Iterator[Invoice]:
    which: fields.Invoices = {"page_size": min(limit, PAGE_SIZE_MAX)}
    if period:
        which["period"] = period
    return client.list_invoices(organization, **which)


def _print_list(found: Sequence[Invoice], *, as_json: bool) -> None:
    if as_json:
        print_json({"invoices": [invoice_document(each) for each in found]})
    elif found:
        print_table(COLUMNS, [invoice_row(each) for each in found], right=NUMBERS, optional=OPTIONAL)
    else:
        typer.echo("Nothing was issued.")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows progress on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {"": bar.add_task("adding up", total=None)}

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                bar.update(tasks[""], visible=False)
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield tell


def _refuse(message: str, where: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=where)
