"""Which calls does the command line mean an override for, how much, and for how long?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from .amounts import read_amount
from .durations import read_ttl
from .statuses import scopes_of

Amount = Annotated[
    Decimal, typer.Argument(metavar="AMOUNT", parser=read_amount, help="The most that it pays past the caps.")
]
Name = Annotated[
    str, typer.Option(metavar="ID", help="For its calls, not all of the organization.", show_default=False)
]
Reservation = Annotated[
    str,
    typer.Option(
        metavar="ID", help="For the one call of this reservation id, before it is admitted.", show_default=False
    ),
]
Id = Annotated[str, typer.Argument(metavar="OVERRIDE", help="Its id.", show_default=False)]
Ttl = Annotated[
    timedelta | None,
    typer.Option(
        metavar="TIME",
        parser=read_ttl,
        help="How long it lasts, such as 30m, 2h or 7d; at most 31d.",
        show_default="1h",
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for those who read the history.", show_default=False)]


def calls(department: str, campaign: str, agent: str, run: str, reservation: str) -> dict[str, Any]:
    """Return which calls are meant, as requests say it: nothing for all of the organization."""
    ids = {"department": department, "campaign": campaign, "agent": agent, "run": run}
    scopes = scopes_of(**{name: [scope_id] if scope_id else [] for name, scope_id in ids.items()})
    if len(scopes) + bool(reservation) > 1:
        message = "give one of --department, --campaign, --agent, --run and --reservation"
        raise typer.BadParameter(message)
    if reservation:
        return {"reservation": reservation}
    return {"scope": scopes[0]} if scopes else {}


def ttl_field(ttl: timedelta | None) -> dict[str, Any]:
    """Return how long an override is to last, as requests say it: nothing for what the server holds right."""
    return {} if ttl is None else {"ttl": ttl}
