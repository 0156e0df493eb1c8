"""The command that issues invoices, and writes their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from gatekeeper.domain.invoice_formats import InvoiceFormat

from .connection import open_client
from .invoice_files import Exported, FileFailed
from .invoice_mail import NotSent, open_mail
from .invoice_months import MONTH
from .invoice_run import Run, Wanted, run_all
from .invoice_texts import COLUMNS, NUMBERS, OPTIONAL, invoice_document, invoice_row, invoice_text, unbilled_text
from .options import AsJson, CaFile, CertificateFile, KeyFile, Target, TokenFile, fail
from .output import print_json, print_table

if TYPE_CHECKING:
    from apprise import Apprise

    from gatekeeper_client import Client, fields
    from gatekeeper_client.v1.invoice_pb2 import Invoice

LIMIT_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000


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
    month is always a draft. With --credit, writes the credit note. With --all
    and without a month, issues every month that was not billed; goes on after
    a failure and exits with 1; meant for a monthly job.
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
            found = list(islice(_listed(client, organization, period, limit), limit))
            _print_list(found, client.list_unbilled_periods(organization), as_json=as_json)
            return
        mail = _opened(apprise_file)
        run = Run(client, asked, formats or [InvoiceFormat.PDF], output, mail)
        if every:
            run_all(run, as_json=as_json)
            return
        assert organization is not None
        exported = _told(run, organization)
    if as_json:
        print_json(invoice_document(exported.invoice, exported.paths))
    else:
        typer.echo(invoice_text(exported.invoice, exported.paths))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked(Wanted):
    """What is wanted, and of whom."""

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


def _told(run: Run, organization: str) -> Exported:
    try:
        return run.export(organization, run.output)
    except (FileFailed, NotSent) as error:
        fail(str(error))


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


def _print_list(found: Sequence[Invoice], unbilled: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"invoices": [invoice_document(each) for each in found], "unbilled_periods": unbilled})
        return
    if found:
        print_table(COLUMNS, [invoice_row(each) for each in found], right=NUMBERS, optional=OPTIONAL)
    else:
        typer.echo("Nothing was issued.")
    if unbilled:
        typer.echo(unbilled_text(unbilled))


def _refuse(message: str, where: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=where)
