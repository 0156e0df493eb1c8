"""What can be done with a server that has just begun to serve?"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekeeper.app import Running
    from gatekeeper.settings import Settings

NEXT_STEPS = """\
gatekeeper serves on {address}
{callers}
  database    {database}
  try it      {command} check --organization acme --amount 0.10{options}
  with gRPC   {grpcurl} {flags} -d '{{"organization":"acme","amount":{{"units":1}}}}' {place} \\
                gatekeeper.v1.GatekeeperService/Reserve
{metrics}  stop        Ctrl-C
"""
METRICS = "  metrics     http://{address}/metrics, with /healthz and /readyz beside it\n"
INSECURE = "  CAUTION     --insecure: whoever reaches this server may do everything, and nobody is asked for a token"
OPERATOR = "  token       an operator's is in {file}"
CALLERS = "  token       `{command} token create` makes one; every caller shows one"
UNIX = "unix:"
DEFAULT_TARGET = "127.0.0.1:50051"


def next_steps(running: Running, settings: Settings) -> str:
    """Return what to print: where it serves, who may call, and two calls to paste, for the first address."""
    address, *others = running.addresses
    text = NEXT_STEPS.format(
        address=address,
        callers=_callers(running),
        database="embedded PostgreSQL" if running.embedded else "PostgreSQL at the given URL",
        command=_command(),
        options="".join(f" {option}" for option in _options(running, settings)),
        grpcurl=_grpcurl(running),
        flags=" ".join(_flags(running, settings)),
        place=address.removeprefix(UNIX),
        metrics=METRICS.format(address=running.http_address) if running.http_address else "",
    )
    return "".join([text, *(f"gatekeeper serves on {other} too\n" for other in others)])


def _callers(running: Running) -> str:
    if not running.secured:
        return INSECURE
    return OPERATOR.format(file=running.token_file) if running.token_file else CALLERS.format(command=_command())


def _options(running: Running, settings: Settings) -> Iterator[str]:
    """Yield options for the command line; files that only the caller knows are in capitals."""
    address = running.addresses[0]
    if address != DEFAULT_TARGET:
        yield f"--target {address}"
    if running.token_file is not None:
        yield f"--token-file {shlex.quote(str(running.token_file))}"
    if _speaks_tls(address, settings):
        yield "--ca-file CA"
        if settings.tls_client_ca_file is not None:
            yield "--certificate-file CERTIFICATE --key-file KEY"


def _grpcurl(running: Running) -> str:
    """Return how grpcurl is called. The token comes by its environment: its arguments are shown to every user."""
    if not running.secured:
        return "grpcurl"
    file = shlex.quote(str(running.token_file)) if running.token_file else "TOKEN_FILE"
    return f"TOKEN=$(cat {file}) grpcurl"


def _flags(running: Running, settings: Settings) -> Iterator[str]:
    """Yield flags for grpcurl."""
    address = running.addresses[0]
    if not _speaks_tls(address, settings):
        yield "-plaintext -unix" if address.startswith(UNIX) else "-plaintext"
    elif settings.tls_client_ca_file is None:
        yield "-cacert CA"
    else:
        yield "-cacert CA -cert CERTIFICATE -key KEY"
    if running.secured:
        yield "-expand-headers -H 'authorization: Bearer ${TOKEN}'"


def _speaks_tls(address: str, settings: Settings) -> bool:
    return settings.tls_certificate_file is not None and not address.startswith(UNIX)


def _command() -> str:
    """Return how this program was called, so that what is printed works as pasted."""
    if shutil.which("gatekeeper"):
        return "gatekeeper"
    program = Path(sys.argv[0])
    if program.name != "gatekeeper":
        return f"{sys.executable} -m gatekeeper"
    return os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)
