"""The command that verifies the books."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.domain.money import plain

from .options import AsJson, DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of
from .output import print_json

if TYPE_CHECKING:
    from gatekeeper.domain.verification import Difference
    from gatekeeper.services.verification import Progress, Verification
    from gatekeeper.settings import Settings


def verify(
    *,
    organization: Annotated[str | None, typer.Option(help="Only this one's books.", show_default="everyone's")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Derive every balance again, and compare.

    Prints PASS, or each difference and exits with 1. Reads one snapshot of
    holds and executions and takes no lock, so calls go on meanwhile.
    """
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        with _progress() as progress:
            found = asyncio.run(_verify(settings, organization, progress))
    if as_json:
        print_json(_document(found))
    else:
        typer.echo(_text(found))
    if found.differences:
        raise typer.Exit(1)


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
        "differences": [_difference(difference) for difference in found.differences],
        "complete": found.complete,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if difference.key is not None:
        scope, window, period = difference.key
        place = {"scope": {"kind": scope.kind, "id": scope.id}, "window": window, "period": period}
    if difference.reservation_id:
        place["reservation_id"] = difference.reservation_id
    amounts = {"expected": difference.expected, "found": difference.found}
    return {
        "what": difference.what,
        "organization": difference.organization,
        **place,
        **{name: None if amount is None else plain(amount) for name, amount in amounts.items()},
    }


def _text(found: Verification) -> str:
    counts = _counts(found)
    overdue = counts.pop("overdue")
    looked_at = ", ".join(_numbered(count, name) for name, count in counts.items())
    if overdue:
        looked_at += f"; {_numbered(overdue, 'holds')} overdue"
    lines = [str(difference) for difference in found.differences]
    if not lines:
        return f"PASS: {looked_at}."
    if not found.complete:
        lines.append("There are more: each check lists a thousand at most.")
    return "\n".join([f"FAIL: {_numbered(len(found.differences), 'differences')} in {looked_at}.", *lines])


def _numbered(count: int, names: str) -> str:
    return f"{count:,} {names.removesuffix('s') if count == 1 else names}"
