"""What do overrides and budgets say of what was paid?"""

from __future__ import annotations

from decimal import Decimal

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .overriding import Overriding
from .wire import ORGANIZATION, Wire

EXCESSES = "SELECT kind, amount FROM excesses WHERE organization = %s ORDER BY excess_id"


def booked(desk: Overriding, override_id: str = "") -> tuple[Decimal, Decimal]:
    """Return what the only override, or the named one, is booked for holds, and what it has cost."""
    (found,) = [each for each in desk.listed() if override_id in {"", each.override_id}]
    return from_money(found.reserved), from_money(found.spent)


def standing(wire: Wire, organization: str, scope: budget_pb2.Scope = ORGANIZATION) -> tuple[Decimal, ...]:
    """Return spent, reserved and overridden of the only budget of a scope."""
    status = wire.budget(organization, scope)
    return from_money(status.spent), from_money(status.reserved), from_money(status.overridden)


def paid(held: pb.Reservation) -> Decimal:
    """Return what an override pays of a reservation; zero also where none does."""
    return from_money(held.override.amount) if held.HasField("override") else Decimal(0)
