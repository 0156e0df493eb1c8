"""Which verdicts and costs are counted, once they are durable?"""

from __future__ import annotations

from collections.abc import Iterable

from gatekeeper.domain.money import ZERO
from gatekeeper.domain.reservation import ReservationState
from gatekeeper.domain.verdicts import Committed, Denial, Held
from gatekeeper.metrics import ADMITTED, OVERRIDDEN, WOULD_DENY, Metrics

from .batch import Answer, Result


def count_verdicts(metrics: Metrics, results: Iterable[Result | Exception]) -> None:
    """Count what a batch has answered. An answer that is given again counts again."""
    for result in results:
        if not isinstance(result, Answer):
            continue
        match result.verdict:
            case Denial(denied=denied):
                metrics.verdict(denied.reason)
            case Committed(reservation, _, _):
                overage = (reservation.committed or ZERO) - reservation.amount
                if overage > ZERO:
                    metrics.overage(overage, result.organization.currency)
            case Held(reservation, _) if reservation.state is ReservationState.HELD:
                metrics.verdict(_admitted(result.verdict))
            case Held(reservation, _) if reservation.state is ReservationState.EXPIRED:
                metrics.expired()


def _admitted(held: Held) -> str:
    reservation = held.reservation
    if reservation.override is not None:
        return OVERRIDDEN
    return WOULD_DENY if reservation.would_deny else ADMITTED
