"""How is an invoice issued and brought to disk: one, or everything that organizations have due?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from gatekeeper.domain.invoice_formats import InvoiceFormat

from .invoice_files import Exported, FileFailed, Progress, folder_name, write_files
from .invoice_mail import NotSent, send
from .invoice_months import last_month, months_due
from .invoice_texts import invoice_document, invoice_text, seller_warning
from .output import print_json

if TYPE_CHECKING:
    from apprise import Apprise

    from gatekeeper_client import Client, GatekeeperError, fields
    from gatekeeper_client.v1.report_service_pb2 import OrganizationInfo

NOTHING: Final = "NOTHING_TO_INVOICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted: the invoice of a month (None: the last one), one by its number, or a credit note for one."""

    period: str | None
    number: str | None
    draft: bool
    credit: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """Who is asked, for what, and where it goes."""

    client: Client
    wanted: Wanted
    formats: Sequence[InvoiceFormat]
    output: Path
    mail: Apprise | None

    def export(self, organization: str, folder: Path, period: str | None = None) -> Exported:
        """Issue an organization's invoice, write its files, and send it. Raises `FileFailed` or `NotSent`."""
        period = period or self.wanted.period
        which: fields.ExportInvoice = {"formats": [each.value for each in self.formats]}
        number = self.wanted.number
        if self.wanted.credit:
            credited = self.client.credit_invoice(organization, self.wanted.credit, reason=self.wanted.reason)
            number = credited.invoice.number
        if number:
            which["number"] = number
        if period or not number:
            which["period"] = period or last_month(self.client, organization)
        if self.wanted.draft:
            which["draft"] = True
        with _progress() as progress:
            exported = write_files(self.client.export_invoice(organization, **which), folder, progress)
        if not self.wanted.number and (warning := seller_warning(exported.invoice)):
            typer.echo(f"gatekeeper: {warning}", err=True)
        if self.mail is not None and exported.invoice.number:
            send(self.mail, exported)
        return exported


def run_all(run: Run, *, as_json: bool) -> None:
    """Issue what every organization has due; what fails is told, and does not keep the others."""
    job = Job(run, as_json)
    for organization in list(run.client.list_organizations()):
        job.bill(organization)
    if as_json:
        done = [invoice_document(each.invoice, each.paths) for each in job.done]
        print_json({"invoices": done, "failed": job.failed})
    if job.failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Job:
    """What was done for every organization, and what failed."""

    run: Run
    as_json: bool
    done: list[Exported] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def bill(self, organization: OrganizationInfo) -> None:
        """Issue an organization's invoices: of the month that was named, or of all that are due."""
        name, named = organization.organization, self.run.wanted.period
        due: list[str] = [named] if named else []
        with self._telling(name):
            due = due or months_due(self.run.client, organization)
        for period in due:
            with self._telling(name, period):
                exported = self.run.export(name, self.run.output / folder_name(name), period)
                self.done.append(exported)
                if not self.as_json:
                    typer.echo(invoice_text(exported.invoice, exported.paths))

    @contextmanager
    def _telling(self, name: str, period: str = "") -> Iterator[None]:
        """Tell of what fails, and go on."""
        from gatekeeper_client import GatekeeperError

        try:
            yield
        except (GatekeeperError, FileFailed, NotSent) as error:
            if _is_nothing(error):
                return
            problem = error.message if isinstance(error, GatekeeperError) else str(error)
            self.failed.append({"organization": name, "period": period, "problem": problem})
            of_month = f" for {period}" if period else ""
            typer.echo(f"gatekeeper: {name!r}{of_month}: {problem}", err=True)


def _is_nothing(error: GatekeeperError | FileFailed | NotSent) -> bool:
    """Tell whether a month has no executions, and the server issues no invoice over nothing."""
    return getattr(error, "reason", "") == NOTHING


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
