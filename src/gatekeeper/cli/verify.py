"""The command that verifies the books, and the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import audit_verification
from .differences import difference_document, numbered
from .options import AsJson, DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of
from .output import print_json

if TYPE_CHECKING:
    from gatekeeper.services.audit_verification import ChainHead
    from gatekeeper.services.verification import Progress, Verification
    from gatekeeper.settings import Settings


def verify(
    *,
    organization: Annotated[str | None, typer.Option(help="Only this one's books.", show_default="everyone's")] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Verify the audit trail instead, and print its heads.")
    ] = False,
    head: Annotated[
        list[Any] | None,
        typer.Option(
            metavar="ORGANIZATION=SEQUENCE:LINK",
            parser=audit_verification.read_head,
            help="A head of the audit trail as --audit printed it, to compare with; repeatable. It vouches for"
            " entries up to it that were sealed before there was a key.",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Derive every balance again, and compare.

    Prints PASS, or each difference and exits with 1. Reads one snapshot of
    holds and executions and takes no lock, so calls go on meanwhile. With
    --audit, prints the last link of each chain besides, as --head takes it:
    kept elsewhere, it shows whether the trail was made anew.
    """
    _check_heads(head or [], audit=audit, organization=organization)
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        document, text = _trail(settings, organization, head or []) if audit else _books(settings, organization)
    if as_json:
        print_json(document)
    else:
        typer.echo(text)
    if not document["passed"]:
        raise typer.Exit(1)


def _check_heads(kept: list[ChainHead], *, audit: bool, organization: str | None) -> None:
    """Refuse heads that would not be compared with anything."""
    if kept and not audit:
        message = "takes --audit"
        raise typer.BadParameter(message, param_hint="--head")
    if organization is not None and any(head.organization != organization for head in kept):
        message = f"is of another organization than {organization!r}"
        raise typer.BadParameter(message, param_hint="--head")


def _books(settings: Settings, organization: str | None) -> tuple[dict[str, Any], str]:
    with _progress() as progress:
        found = asyncio.run(_verify(settings, organization, progress))
    return _document(found), _text(found)


def _trail(settings: Settings, organization: str | None, kept: list[ChainHead]) -> tuple[dict[str, Any], str]:
    with _progress() as progress:
        found = asyncio.run(audit_verification.verify(settings, organization, kept, progress))
    return audit_verification.document(found), audit_verification.text(found)


async def _verify(settings: Settings, organization: str | None, progress: Progress) -> Verification:
    from gatekeeper.services.verification import verify_books

    from .database import reached

    async with reached(settings) as url:
        return await verify_books(url, organization=organization, progress=progress)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows progress on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("verifying")
        yield lambda name, done, steps: bar.update(task, description=name, completed=done, total=steps)


def _counts(found: Verification) -> dict[str, int]:
    return {field.name: value for field in fields(found) if type(value := getattr(found, field.name)) is int}


def _document(found: Verification) -> dict[str, Any]:
    return {
        "passed": not found.differences,
        "checked_at": found.checked_at.isoformat(),
        **_counts(found),
        "differences": [difference_document(difference) for difference in found.differences],
        "complete": found.complete,
    }


def _text(found: Verification) -> str:
    counts = _counts(found)
    overdue = counts.pop("overdue")
    looked_at = ", ".join(numbered(count, name) for name, count in counts.items())
    if overdue:
        looked_at += f"; {numbered(overdue, 'holds')} overdue"
    lines = [str(difference) for difference in found.differences]
    if not lines:
        return f"PASS: {looked_at}."
    if not found.complete:
        lines.append("There are more: each check lists a thousand at most.")
    return "\n".join([f"FAIL: {numbered(len(found.differences), 'differences')} in {looked_at}.", *lines])
