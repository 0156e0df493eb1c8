"""How is the server run from the command line, and what does it say first?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .descriptors import descriptors_allowed, descriptors_wanted
from .next_steps import next_steps
from .options import DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of

if TYPE_CHECKING:
    from gatekeeper.rpc.line_writer import LineWriter
    from gatekeeper.settings import Settings

STANDARD_ERROR = 2


def serve(
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="HOST:PORT or unix:PATH; repeatable.", show_default="127.0.0.1:50051"),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure",
            help="Ask nobody for a token. Only on loopback addresses and Unix sockets.",
            envvar="GATEKEEPER_INSECURE",
        ),
    ] = None,
    allow_plaintext: Annotated[
        bool | None,
        typer.Option(
            "--allow-plaintext",
            help="Listen off loopback without TLS: tokens and calls can be read on the way.",
            envvar="GATEKEEPER_ALLOW_PLAINTEXT",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of the server's certificate chain. With it, every TCP address speaks TLS.",
            envvar="GATEKEEPER_TLS_CERTIFICATE_FILE",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file of its private key.", envvar="GATEKEEPER_TLS_KEY_FILE"),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of authorities. With it, every TCP client must show a certificate of theirs.",
            envvar="GATEKEEPER_TLS_CLIENT_CA_FILE",
        ),
    ] = None,
    unix_mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="Mode of Unix sockets: 0600 for the server's user, 0660 for its group as well.",
            envvar="GATEKEEPER_UNIX_MODE",
            show_default="0600",
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT for /metrics, /healthz and /readyz over HTTP; on loopback unless GATEKEEPER_HTTP_OPEN=1.",
            envvar="GATEKEEPER_HTTP_LISTEN",
            show_default="no HTTP, and no metrics",
        ),
    ] = None,
    unix_peers: Annotated[
        bool | None,
        typer.Option(
            "--unix-peers",
            help="Let Unix sockets tell which user calls, so that a role can be given to it. Costs a copy.",
            envvar="GATEKEEPER_UNIX_PEERS",
        ),
    ] = None,
) -> None:
    """Serve gRPC, on an embedded PostgreSQL unless there is a database URL.

    The TLS files are read again when they change.
    """
    # Whoever connects without knowing how must not fill the log with gRPC's own words about it.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with fail_cleanly():
        settings = settings_of(
            listen=tuple(listen) if listen else None,
            database_url=database_url,
            data_dir=data_dir,
            pg_bin=pg_bin,
            insecure=insecure,
            allow_plaintext=allow_plaintext,
            tls_certificate_file=tls_certificate,
            tls_key_file=tls_key,
            tls_client_ca_file=tls_client_ca,
            unix_mode=unix_mode,
            http_listen=http,
            unix_peers=unix_peers,
        )
        with _logging(settings) as lines, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, lines))


@contextlib.contextmanager
def _logging(settings: Settings) -> Iterator[LineWriter]:
    """Have all that is logged inside written by a thread: whoever reads it slowly must not hold up the event loop."""
    from gatekeeper.rpc.call_log import dropped_line
    from gatekeeper.rpc.line_writer import LineWriter
    from gatekeeper.telemetry import configure_logging, is_for_people

    lines = LineWriter(STANDARD_ERROR, dropped_line(for_people=is_for_people(settings.log_format)))
    with lines.writing():
        configure_logging(settings.log_level, settings.log_format, lines.add)
        yield lines


async def _serve(settings: Settings, lines: LineWriter) -> None:
    """Serve until a signal says stop."""
    import structlog

    from gatekeeper import app

    from .database import require_answer

    log = structlog.get_logger(__name__)
    if settings.insecure:
        log.warning("serve.insecure", listen=settings.listen)
    allowed, wanted = descriptors_allowed(), descriptors_wanted(settings)
    if allowed is not None and allowed < wanted:
        log.warning("serve.descriptors_few", allowed=allowed, wanted=wanted)
    if settings.database_url is not None:
        await require_answer(settings.database_url.get_secret_value())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await app.serve(settings, stop, lambda running: typer.echo(next_steps(running, settings)), lines)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
