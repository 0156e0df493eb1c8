"""How does a command call the server, and what does it say when there is no answer?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from .options import fail

if TYPE_CHECKING:
    from gatekeeper_client import Client


@contextmanager
def calling(target: str | None) -> Iterator[Client]:
    """Yield a client; whatever leaves a call without an answer ends the command with one line."""
    from gatekeeper_client import Client, GatekeeperError, InvalidRequest, Unavailable
    from gatekeeper_client.channel import address_of

    try:
        address = address_of(target, secure=False)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--target") from None
    try:
        with Client(address) as client:
            yield client
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None
    except Unavailable as error:
        if error.reason:
            fail(error.message)
        fail(f"no server answers at {address}: start one with `gatekeeper serve`, or name another with --target")
    except GatekeeperError as error:
        fail(f"{error.message} ({address})" if not error.reason else error.message)
