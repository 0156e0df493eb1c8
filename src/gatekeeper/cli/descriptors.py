"""How many descriptors may this process have, and are they enough for the connections that it takes?"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekeeper.settings import Settings

# What is open besides connections of clients: the database's, listening sockets, gRPC's own, logs, files being read.
RESERVE = 200
# A Unix socket that tells who calls has the client's connection, and both ends of the one behind it.
RELAYED = 3


def descriptors_allowed() -> int | None:
    """Raise the limit as far as this process may; return it. None where there is no such limit, or none is known."""
    try:
        import resource
    except ImportError:
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name a limit that they do not grant.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def descriptors_wanted(settings: Settings) -> int:
    """Return how many are open when every address has all the connections that it takes."""
    each = [RELAYED if settings.unix_peers and address.startswith("unix:") else 1 for address in settings.listen]
    return RESERVE + settings.connections_max * sum(each) + _wanted_by_http(settings)


def _wanted_by_http(settings: Settings) -> int:
    if settings.http_listen is None:
        return 0
    # What serves HTTP takes a tenth of a second to import.
    from gatekeeper.web.server import BACKLOG, CONNECTIONS_MAX

    return CONNECTIONS_MAX + BACKLOG
