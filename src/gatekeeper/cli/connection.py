"""How does a command reach a server, as whom, and what does it say when there is no answer?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import typer

from .options import fail

if TYPE_CHECKING:
    import grpc

    from gatekeeper_client import Client, Unavailable

OPERATOR_TOKEN: Final = "operator.token"  # noqa: S105 - the name of a file
TOKEN_HINT: Final = "Tokens come from --token-file, GATEKEEPER_TOKEN or GATEKEEPER_TOKEN_FILE."  # noqa: S105

# What is in gRPC's words when a connection fails on the way to TLS, and what it means.
TLS_CAUSES: Final = {
    "local issuer certificate": "no known authority vouches for its certificate; name yours with --ca-file",
    "self signed certificate": "no known authority vouches for its certificate; name yours with --ca-file",
    "has expired": "its certificate has expired",
    "Hostname Verification": "its certificate is for another host name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS, which --ca-file, a certificate or https:// ask for",
    "Socket closed": "it hung up at once: it may want TLS (--ca-file, https://) or a certificate (--certificate-file)",
}


class Files(TypedDict):
    """The files that a command's options name."""

    token_file: Path | None
    ca_file: Path | None
    certificate_file: Path | None
    key_file: Path | None


class Connection(TypedDict):
    """What a client is made with, of either face."""

    target: str
    credentials: grpc.ChannelCredentials | None
    token: str | None


@contextmanager
def open_client(target: str | None, **files: Unpack[Files]) -> Iterator[Client]:
    """Yield a client; whatever leaves a call without an answer ends the command with one line."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is told below, in one line
    from gatekeeper_client import Client, GatekeeperError, InvalidRequest, Unauthenticated, Unavailable

    connection = connection_to(target, **files)
    address = connection["target"]
    try:
        with Client(**connection) as client:
            yield client
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None
    except Unavailable as error:
        fail(_unanswered(address, error))
    except Unauthenticated as error:
        fail(f"{error.message} {TOKEN_HINT}")
    except GatekeeperError as error:
        fail(f"{error.message} ({address})" if not error.reason else error.message)


def connection_to(target: str | None, **files: Unpack[Files]) -> Connection:
    """Return what a client is made with: from the options, else the environment, else this machine's operator token.

    Raises `typer.BadParameter` for what cannot be used.
    """
    from gatekeeper_client.channel import address_of, route_to, target_of, tls_for

    named = target_of(target)
    tls = {name: file for name in ("ca_file", "certificate_file", "key_file") if (file := files[name])}
    try:
        token = _token(address_of(named), files)
        route = route_to(named, credentials=tls_for(named, tls), token=token)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Connection(target=route.address, credentials=route.credentials, token=token)


def _token(address: str, files: Files) -> str | None:
    """Return the token that a file holds; None where the client finds one in the environment, or there is none."""
    from gatekeeper_client.credentials import read_token

    path = _token_file(address, files)
    if path is None:
        return None
    token = read_token(path)
    if (mode := stat.S_IMODE(path.stat().st_mode)) & stat.S_IRWXO:
        typer.echo(f"gatekeeper: every user of this machine may read {path} (mode {mode:04o}): chmod 600 it", err=True)
    return token


def _token_file(address: str, files: Files) -> Path | None:
    from gatekeeper_client.channel import is_local

    if files["token_file"] or os.environ.get("GATEKEEPER_TOKEN"):
        return files["token_file"]
    if named := os.environ.get("GATEKEEPER_TOKEN_FILE"):
        return Path(named)
    operator = Path(os.environ.get("GATEKEEPER_OPERATOR_TOKEN_FILE") or _data_dir() / OPERATOR_TOKEN)
    wanted = is_local(address) and files["certificate_file"] is None
    return operator if wanted and os.access(operator, os.R_OK) else None


def _data_dir() -> Path:
    """Return where a server of this user keeps its data. `gatekeeper.embedded` knows it too, but takes long to load."""
    import platformdirs

    return Path(os.environ.get("GATEKEEPER_DATA_DIR") or platformdirs.user_data_dir("gatekeeper"))


def _unanswered(address: str, error: Unavailable) -> str:
    """Tell why no answer came. A connection that fails on the way to TLS has a cause worth more than gRPC's words."""
    if error.reason:
        return error.message
    cause = next((told for sign, told in TLS_CAUSES.items() if sign in error.message), None)
    if cause is None:
        return f"no server answers at {address}: start one with `gatekeeper serve`, or name another with --target"
    return f"no way to talk to {address}: {cause}"
