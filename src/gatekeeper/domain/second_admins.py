"""Are two admins two, where one is not enough for an override?

An admin may make tokens for further admins, and has their secrets in hand. Whatever leads back to one admin, from maker
to maker, is therefore in one hand::

    an operator makes ada and grace     two hands
    ada makes alan, alan makes alice    ada's hand, like ada

Tokens know the name of their maker only: two makers of one name count as one, which errs on the safe side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from .access import Caller
from .money import ZERO
from .overrides import Override

# For how long what an admin has granted alone counts, after it was used and is over.
ALONE_FOR = timedelta(hours=24)


class AdminToken(NamedTuple):
    """What is known of the token of an admin, or of an operator (whose organization is empty)."""

    organization: str
    token_id: str
    name: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """An admin's token and all that are in one hand with it, by id; who has made them; and since when it is there.

    None: there is no such token. An admin without one has the empty id, like everybody else without one.
    """

    token_ids: frozenset[str]
    makers: frozenset[str] = frozenset()
    created_at: datetime | None = None

    def is_second(self, override: Override) -> bool:
        """Tell whether the admin is another one than who has granted it, and was so before it came about."""
        if self.created_at is None or not override.granted_by_id:
            return False
        is_other = override.granted_by_id not in self.token_ids and override.granted_by not in self.makers
        return is_other and self.created_at < override.created_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an admin stands to whom a limit may apply: in which hand, and what that has granted without a second one."""

    hand: Hand
    granted_alone: Decimal = ZERO


# Where one admin is always enough.
UNLIMITED = Standing(hand=Hand(token_ids=frozenset()))


def hand_of(caller: Caller, tokens: Collection[AdminToken]) -> Hand:
    """Return in which hand a caller's token is, by those of the organization's admins and of operators, ended or not.

    An operator's is in no hand with an admin's: it is the installation's.
    """
    mine = next((token for token in tokens if token.token_id == caller.caller_id), None)
    if mine is None:
        return Hand(token_ids=frozenset({caller.caller_id}))
    is_operator = not mine.organization
    peers = [
        token
        for token in tokens
        if token.organization == mine.organization and (token.name == mine.name or not is_operator)
    ]
    names = {token.name for token in peers}
    pairs = [(token.created_by, token.name) for token in peers if token.created_by in names]
    origin = _reachable({mine.name}, _edges((made, maker) for maker, made in pairs))
    in_hand = _reachable(origin, _edges(pairs))
    return Hand(
        token_ids=frozenset(token.token_id for token in peers if token.name in in_hand),
        makers=frozenset(token.created_by for token in peers if token.name in origin),
        created_at=mine.created_at,
    )


def _edges(pairs: Iterable[tuple[str, str]]) -> Mapping[str, set[str]]:
    edges: dict[str, set[str]] = defaultdict(set)
    for begin, end in pairs:
        edges[begin].add(end)
    return edges


def _reachable(start: set[str], edges: Mapping[str, set[str]]) -> set[str]:
    found, fresh = set(start), set(start)
    while fresh:
        fresh = {end for name in fresh for end in edges.get(name, ())} - found
        found |= fresh
    return found
