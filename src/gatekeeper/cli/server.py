"""Commands that run the server, or make its database ready."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Annotated

import typer

from .options import DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of

NEXT_STEPS = """\
gatekeeper serves on {address}
  database    {database}
  try it      gatekeeper check --organization acme --amount 0.10
  with gRPC   grpcurl -plaintext -d '{{"organization":"acme","amount":{{"units":1}}}}' {address} \\
                gatekeeper.v1.GatekeeperService/Reserve
  stop        Ctrl-C
"""


def serve(
    listen: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT or unix:PATH; may be given several times.", show_default="127.0.0.1:50051"),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
) -> None:
    """Serve gRPC. Without a database URL, start the embedded PostgreSQL first."""
    with fail_cleanly():
        settings = settings_of(
            listen=tuple(listen) if listen else None, database_url=database_url, data_dir=data_dir, pg_bin=pg_bin
        )
        from gatekeeper.telemetry import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        _run(settings)


def _run(settings: object) -> None:
    from gatekeeper import app

    def ready(running: app.Running) -> None:
        database = "embedded PostgreSQL" if running.embedded else "PostgreSQL at the given URL"
        typer.echo(NEXT_STEPS.format(address=running.addresses[0], database=database))

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await app.serve(settings, stop, ready)  # type: ignore[arg-type]

    runner = asyncio.Runner(loop_factory=_loop_factory())
    with runner:
        runner.run(main())


def _loop_factory():  # type: ignore[no-untyped-def]
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


def migrate(database_url: DatabaseUrl = None, data_dir: DataDir = None, pg_bin: PgBin = None) -> None:
    """Bring the database's schema and price book to this version's."""
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        from gatekeeper.services import setup

        from .database import reached

        async def run() -> None:
            async with reached(settings) as url:
                await setup.prepare(url)

        asyncio.run(run())
        typer.echo("The schema and the price book are those of this version.")


