"""The command that makes a database ready: its schema, its price book, and the role that servers connect as."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from .actor import actor
from .options import DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of

if TYPE_CHECKING:
    from gatekeeper.settings import Settings


def migrate(
    role: Annotated[
        str | None,
        typer.Argument(metavar="ROLE", help="Which one, with --grant.", show_default="gatekeeper_server"),
    ] = None,
    *,
    grant: Annotated[
        bool, typer.Option("--grant", help="Let a PostgreSQL role do what a server needs, and no more.")
    ] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
) -> None:
    """Bring the database's schema and price book to this version's.

    Whoever does it owns the tables, and should not be who serves.
    """
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin, server_role=role)
        _check_usage(settings, role, grant=grant)
        asyncio.run(_migrate(settings, settings.server_role if grant else None))
    typer.echo("The schema and the price book are those of this version.")
    if grant:
        typer.echo(f"{settings.server_role} may do what a server needs, and was granted nothing else.")


def _check_usage(settings: Settings, role: str | None, *, grant: bool) -> None:
    if role is not None and not grant:
        message = "a role is only for --grant"
        raise typer.BadParameter(message)
    if grant and settings.database_url is None:
        message = "--grant needs a database URL; the embedded PostgreSQL has its role from `gatekeeper serve`"
        raise typer.BadParameter(message)


async def _migrate(settings: Settings, server_role: str | None) -> None:
    from gatekeeper.database import audit_key
    from gatekeeper.services import setup

    from .database import reached

    async with reached(settings) as url:
        await setup.prepare(url, server_role=server_role, actor=actor(), key=audit_key(settings))
