"""Where may the server listen, and how does it?

Whoever is asked for no token must be on this machine, and tokens do not cross a network in the clear unless told to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from gatekeeper.addresses import ListenError, host_and_port, is_loopback, try_port
from gatekeeper.settings import Settings

from . import relay
from .peers import Peers
from .tls import Certificates, TlsError, TlsFiles

log = structlog.get_logger(__name__)

UNIX = "unix:"
ABSTRACT = ("unix:@", "unix:\0", "unix-abstract:")
PERMISSIONS = 0o777

FORM = "give it as HOST:PORT or unix:PATH, with [] around an IPv6 address"
ASKS_NOBODY = (
    "--insecure asks nobody for a token, so only loopback addresses and Unix sockets are safe; "
    "leave it out, or listen on 127.0.0.1:PORT or unix:PATH"
)
IN_THE_CLEAR = (
    "without TLS, tokens can be read on the way; give --tls-certificate and --tls-key, "
    "or --allow-plaintext where the network itself is safe"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How all addresses are listened on.

    `insecure`: callers are asked for no token. With `tls`, every TCP address speaks it. `unix_mode` is the mode of
    socket files; with `unix_peers` they tell which user calls, for up to `connections_max` connections each.
    """

    insecure: bool = False
    allow_plaintext: bool = False
    tls: Certificates | None = None
    unix_mode: int = 0o600
    unix_peers: bool = False
    connections_max: int = 10_000


LOCAL = Transport()


def transport_of(settings: Settings) -> Transport:
    """Return the transport that is set, with its TLS files read. Raises `ListenError` for those that cannot be used."""
    try:
        tls = _certificates(settings)
    except TlsError as error:
        raise ListenError(", ".join(settings.listen), str(error)) from error
    return Transport(
        insecure=settings.insecure,
        allow_plaintext=settings.allow_plaintext,
        tls=tls,
        unix_mode=int(settings.unix_mode, base=8),
        unix_peers=settings.unix_peers,
        connections_max=settings.connections_max,
    )


def _certificates(settings: Settings) -> Certificates | None:
    certificate, key, client_ca = (
        settings.tls_certificate_file,
        settings.tls_key_file,
        settings.tls_client_ca_file,
    )
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        message = "TLS takes both --tls-certificate and --tls-key"
        raise TlsError(message)
    files = TlsFiles(certificate=certificate, key=key, client_ca=client_ca)
    return Certificates(files, settings.tls_reload_interval_s)


@asynccontextmanager
async def listening(
    server: grpc.aio.Server, addresses: Sequence[str], transport: Transport, peers: Peers
) -> AsyncIterator[list[str]]:
    """Listen on all addresses with a server that does not serve yet; yield them with the ports that were taken.

    The server is to be started and stopped inside. `peers` learns who calls through Unix sockets. Raises `ListenError`.
    """
    async with AsyncExitStack() as stack:
        taken = []
        for address in addresses:
            if address.startswith(UNIX) and transport.unix_peers:
                await stack.enter_async_context(_relayed(server, address, transport, peers))
                taken.append(address)
            else:
                taken.append(listen(server, address, transport))
        yield taken


def listen(server: grpc.aio.Server, address: str, transport: Transport = LOCAL) -> str:
    """Listen on HOST:PORT or unix:PATH; return the address with the port that was taken. Raises `ListenError`."""
    if address.startswith((UNIX, *ABSTRACT)):
        with _socket_file(address, transport.unix_mode) as path:
            server.add_insecure_port(f"{UNIX}{path}")
        return address
    host, port = host_and_port(address, FORM)
    try:
        _require_safe(address, host, transport)
        try_port(host, port)
        bound = (
            server.add_insecure_port(address)
            if transport.tls is None
            else server.add_secure_port(address, transport.tls.credentials())
        )
    except (OSError, RuntimeError) as error:
        raise ListenError(address, "the port is in use or not allowed; give another with --listen") from error
    return f"{address.rpartition(':')[0]}:{bound}"


def _require_safe(address: str, host: str, transport: Transport) -> None:
    if is_loopback(host):
        return
    if transport.insecure:
        raise ListenError(address, ASKS_NOBODY)
    if transport.tls is not None:
        return
    if not transport.allow_plaintext:
        raise ListenError(address, IN_THE_CLEAR)
    log.warning("listen.plaintext", address=address)


@asynccontextmanager
async def _relayed(server: grpc.aio.Server, address: str, transport: Transport, peers: Peers) -> AsyncIterator[None]:
    """Listen on a Unix socket that tells which user calls."""
    if not relay.is_possible():
        raise ListenError(address, "only Linux tells which user calls; leave --unix-peers out, and use tokens")
    async with AsyncExitStack() as stack:
        inner = _hidden(server, address)
        stack.callback(os.close, inner)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        with _socket_file(address, transport.unix_mode) as path:
            listener.bind(str(path))
        stack.callback(_remove, path, path.stat().st_ino)
        await stack.enter_async_context(relay.relaying(listener, inner, peers, transport.connections_max))
        yield


def _hidden(server: grpc.aio.Server, address: str) -> int:
    try:
        return relay.hide(server)
    except (OSError, RuntimeError) as error:
        raise ListenError(address, "no socket can be made behind it in the folder for temporary files") from error


def _remove(path: Path, made: int) -> None:
    """Remove a socket's file, unless another server has put its own there."""
    with suppress(FileNotFoundError):
        if path.stat().st_ino == made:
            path.unlink()


@contextmanager
def _socket_file(address: str, mode: int) -> Iterator[Path]:
    """Make room for a socket; what is bound to the path inside has never a wider mode."""
    path = Path(address.removeprefix(UNIX))
    if address.startswith(ABSTRACT):
        raise ListenError(address, "abstract sockets have no mode that keeps others out; give unix:PATH")
    if path.is_socket() and _answers(path):
        raise ListenError(address, "another server answers there")
    if path.exists() and not path.is_socket():
        raise ListenError(address, "a file that is no socket is there")
    if not os.access(path.parent, os.W_OK):
        raise ListenError(address, "the folder is missing or not writable")
    before = os.umask(PERMISSIONS & ~mode)
    try:
        path.unlink(missing_ok=True)
        yield path
    except (OSError, RuntimeError) as error:
        raise ListenError(address, "a socket cannot be made there; its path may be too long") from error
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
