"""Which options do commands share, and how do they fail?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .amounts import read_amount

if TYPE_CHECKING:
    from gatekeeper.settings import Settings

HIDDEN = "***"

Organization = Annotated[str, typer.Option(help="Whose money.", envvar="GATEKEEPER_ORGANIZATION")]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="HOST:PORT, https://HOST:PORT or unix:PATH of the server.",
        envvar="BILLING_API_URL",
        show_default="127.0.0.1:50051",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with the token to show. No option takes the token itself: every user of a machine can read"
        " the arguments of its programs.",
        show_default="GATEKEEPER_TOKEN, else GATEKEEPER_TOKEN_FILE, else on this machine its operator's",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the authorities that vouch for the server; makes the connection a TLS one.",
        envvar="GATEKEEPER_CA_FILE",
        show_default="the public ones, for https://",
    ),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM file of the certificate to show.", envvar="GATEKEEPER_CERTIFICATE_FILE"),
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file of its private key.", envvar="GATEKEEPER_KEY_FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def hide_url(url: str | None) -> str | None:
    """Take a URL, which may have a password, out of the process's title: every user of the machine can read that."""
    if url and any(url in argument for argument in sys.argv):
        from setproctitle import setproctitle

        setproctitle(" ".join(["gatekeeper", *(argument.replace(url, HIDDEN) for argument in sys.argv[1:])]))
    return url


DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="postgresql://… Without one, the embedded PostgreSQL.",
        envvar="GATEKEEPER_DATABASE_URL",
        show_default=False,
        callback=hide_url,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the embedded PostgreSQL keeps its data.", envvar="GATEKEEPER_DATA_DIR"),
]
PgBin = Annotated[
    Path | None,
    typer.Option(help="Folder with PostgreSQL's programs for the embedded one.", envvar="GATEKEEPER_PG_BIN"),
]


def amount_option(help_text: str) -> Any:
    """Return an option that takes an amount of money."""
    return typer.Option(metavar="AMOUNT", parser=read_amount, help=help_text)


def settings_of(**given: Any) -> Settings:
    """Read the settings, those given on the command line first."""
    from pydantic import ValidationError

    from gatekeeper.settings import load_settings

    try:
        return load_settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        # Settings that do not fit together are named by the message.
        where = f"setting {'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        message = f"{where}{first['msg']}"
        raise typer.BadParameter(message) from None


def fail(message: str) -> NoReturn:
    """End with one line and exit code 1."""
    typer.echo(f"gatekeeper: {message}", err=True)
    raise typer.Exit(1)


@contextmanager
def fail_cleanly() -> Iterator[None]:
    """Turn an expected failure into one line and exit code 1, or 2 for what was asked wrongly."""
    try:
        yield
    except (typer.TyperException, typer.Exit, typer.Abort):
        raise
    except Exception as error:
        message = _expected(error)
        if message is None:
            raise
        fail(message)


def _expected(error: Exception) -> str | None:
    """Return what to say of an error that is not a defect. The classes are looked up only now: they are heavy."""
    from psycopg import Error as DriverError
    from sqlalchemy.exc import SQLAlchemyError

    from gatekeeper.addresses import ListenError
    from gatekeeper.domain.errors import GatekeeperError, InvalidField
    from gatekeeper.embedded import EmbeddedError
    from gatekeeper.rpc.spans import OtelMissing
    from gatekeeper.storage.roles import RoleError
    from gatekeeper.storage.schema import SchemaError

    if isinstance(error, InvalidField):
        raise typer.BadParameter(str(error)) from None
    if isinstance(error, EmbeddedError | GatekeeperError | ListenError | OtelMissing | RoleError | SchemaError):
        return str(error)
    if isinstance(error, DriverError | SQLAlchemyError):
        return f"the database refused: {str(error).splitlines()[0]}"
    return None
