"""Commands that run the server, or make its database ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of

if TYPE_CHECKING:
    from gatekeeper.app import Running
    from gatekeeper.settings import Settings

NEXT_STEPS = """\
gatekeeper serves on {address}
  database    {database}
  try it      {command} check --organization acme --amount 0.10{target}
  with gRPC   grpcurl -plaintext{unix} -d '{{"organization":"acme","amount":{{"units":1}}}}' {place} \\
                gatekeeper.v1.GatekeeperService/Reserve
  stop        Ctrl-C
"""
UNIX = "unix:"
DEFAULT_TARGET = "127.0.0.1:50051"


def serve(
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="HOST:PORT or unix:PATH; repeatable.", show_default="127.0.0.1:50051"),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
) -> None:
    """Serve gRPC, on an embedded PostgreSQL unless there is a database URL."""
    with fail_cleanly():
        settings = settings_of(
            listen=tuple(listen) if listen else None, database_url=database_url, data_dir=data_dir, pg_bin=pg_bin
        )
        from gatekeeper.telemetry import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Serve until a signal says stop."""
    from gatekeeper import app

    from .database import require_answer

    if settings.database_url is not None:
        await require_answer(settings.database_url.get_secret_value())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await app.serve(settings, stop, lambda running: typer.echo(_next_steps(running)))


def _next_steps(running: Running) -> str:
    address, *others = running.addresses
    path = address.removeprefix(UNIX)
    text = NEXT_STEPS.format(
        address=address,
        command=_command(),
        database="embedded PostgreSQL" if running.embedded else "PostgreSQL at the given URL",
        target="" if address == DEFAULT_TARGET else f" --target {address}",
        unix=" -unix" if path != address else "",
        place=path,
    )
    return "".join([text, *(f"gatekeeper serves on {other} too\n" for other in others)])


def _command() -> str:
    """Return how this program was called, so that what is printed works as pasted."""
    if shutil.which("gatekeeper"):
        return "gatekeeper"
    program = Path(sys.argv[0])
    if program.name != "gatekeeper":
        return f"{sys.executable} -m gatekeeper"
    return os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


def migrate(database_url: DatabaseUrl = None, data_dir: DataDir = None, pg_bin: PgBin = None) -> None:
    """Bring the database's schema and price book to this version's."""
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        asyncio.run(_migrate(settings))
    typer.echo("The schema and the price book are those of this version.")


async def _migrate(settings: Settings) -> None:
    from gatekeeper.services import setup

    from .database import reached

    async with reached(settings) as url:
        await setup.prepare(url)
