"""What is a no, and what is said of money that a block leaves held? What both clients share of a verdict."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NoReturn

from gatekeeper_client.errors import BudgetDenied

if TYPE_CHECKING:
    from gatekeeper_client.v1.budget_pb2 import BudgetStatus
    from gatekeeper_client.v1.gatekeeper_service_pb2 import ExtendResponse, ReserveResponse
    from gatekeeper_client.v1.override_pb2 import Override, OverrideUse
    from gatekeeper_client.v1.reservation_pb2 import Denial, Reservation

GIVE_BACK_TIMEOUT_S: Final = 2.0  # how long a failing block may wait for its release: the hold expires anyway
LEFT_OPEN: Final = "Reservation %s was neither committed nor released: its money stays held until %s."
NOT_GIVEN_BACK: Final = "Reservation %s could not be released: its money stays held until %s."

log = logging.getLogger("gatekeeper_client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A budget has no room, so nothing (more) is held. Entered as a block, it raises BudgetDenied.

    `requested_override` waits for an admin, and lets the same reservation id through then; None where none was asked
    for. `floor_percent` is the share of the cap that the call's priority stops at; None where it may use all of it.
    """

    denial: Denial
    budgets: tuple[BudgetStatus, ...]
    admitted: ClassVar[Literal[False]] = False

    @property
    def requested_override(self) -> Override | None:
        """The override that was asked for with this call, or for it before."""
        return self.denial.requested_override if self.denial.HasField("requested_override") else None

    @property
    def floor_percent(self) -> int | None:
        """The floor that stopped the call."""
        return self.denial.floor_percent or None

    def __enter__(self) -> NoReturn:
        """Refuse the block."""
        raise BudgetDenied(self.denial)

    def __exit__(self, *_: object) -> None:
        """Do nothing: no block was entered."""


def denied(response: ReserveResponse | ExtendResponse) -> Denied | None:
    """Return the no in a response, None for a yes."""
    return Denied(denial=response.denial, budgets=tuple(response.budgets)) if response.HasField("denial") else None


def override_of(reservation: Reservation) -> OverrideUse | None:
    """Return what an override is booked for a reservation, None where the budgets had room."""
    return reservation.override if reservation.HasField("override") else None
