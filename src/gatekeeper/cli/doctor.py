"""The command that says what is wrong with an installation, and what mends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from .options import AsJson, DatabaseUrl, DataDir, PgBin
from .output import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .findings import Finding

COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    *,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Examine settings, packages, database and ports.

    Changes nothing, and exits with 1 if anything fails.
    """
    from .examination import examine

    findings = asyncio.run(examine(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin))
    healthy = all(finding.state != "fail" for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "checks": [finding.to_document() for finding in findings]})
    else:
        _print(findings)
    if not healthy:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        state = typer.style(f"{finding.state:<4}", fg=COLOURS[finding.state], bold=finding.state == "fail")
        fix = f" → {finding.fix}" if finding.fix else ""
        typer.echo(f"{state}  {finding.check:<{width}}  {finding.what}{fix}")
