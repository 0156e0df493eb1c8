"""What can go wrong with a channel, and what may be said of it? Nothing that holds an address or a secret."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.domain.errors import GatekeeperError


class ChannelUnusable(GatekeeperError):
    """Alerts cannot be sent as {setting} says: {problem}."""


class DeliveryFailed(Exception):
    """A channel did not take an alert. The message is shown: no address and no secret is in it."""


def reason_of(error: Exception) -> str:
    """Return why an attempt failed: the words of a `DeliveryFailed`, of others their names alone.

    What libraries say of an error often quotes the address, with the password or token in it.
    """
    if isinstance(error, DeliveryFailed):
        return str(error)
    names = [type(cause).__name__ for cause in _causes(error)]
    return names[0] if names[0] == names[-1] else f"{names[0]}: {names[-1]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, the first of several."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
