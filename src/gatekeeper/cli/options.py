"""Which options do commands share, and how do they fail?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gatekeeper.settings import Settings

DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql://… Without one, the embedded PostgreSQL.", envvar="GATEKEEPER_DATABASE_URL", show_envvar=True),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where the embedded PostgreSQL keeps its data.", envvar="GATEKEEPER_DATA_DIR")
]
PgBin = Annotated[
    Path | None, typer.Option(help="Folder with PostgreSQL's programs for the embedded one.", envvar="GATEKEEPER_PG_BIN")
]


def settings_of(**given: Any) -> Settings:
    """Read the settings, those given on the command line first."""
    from pydantic import ValidationError

    from gatekeeper.settings import load_settings

    try:
        return load_settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise typer.BadParameter(message) from None


@contextmanager
def fail_cleanly() -> Iterator[None]:
    """Turn an expected failure into one line and exit code 1."""
    from psycopg import Error as DriverError
    from sqlalchemy.exc import SQLAlchemyError

    from gatekeeper.domain.errors import GatekeeperError
    from gatekeeper.embedded import EmbeddedError
    from gatekeeper.rpc.server import ListenError
    from gatekeeper.storage.schema import SchemaError

    try:
        yield
    except (EmbeddedError, GatekeeperError, ListenError, SchemaError) as error:
        typer.echo(f"gatekeeper: {error}", err=True)
        raise typer.Exit(1) from None
    except (DriverError, SQLAlchemyError) as error:
        typer.echo(f"gatekeeper: the database refused: {str(error).splitlines()[0]}", err=True)
        raise typer.Exit(1) from None
