"""How is told what verification found, to people and to programs?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatekeeper.domain.money import plain

if TYPE_CHECKING:
    from gatekeeper.domain.verification import Difference


def difference_document(difference: Difference) -> dict[str, Any]:
    """Return a difference for programs."""
    place: dict[str, Any] = {}
    if difference.key is not None:
        scope, window, period = difference.key
        place = {"scope": {"kind": scope.kind, "id": scope.id}, "window": window, "period": period}
    if difference.reservation_id:
        place["reservation_id"] = difference.reservation_id
    amounts = {"expected": difference.expected, "found": difference.found}
    return {
        "what": difference.what,
        "organization": difference.organization,
        **place,
        **{name: None if amount is None else plain(amount) for name, amount in amounts.items()},
    }


def numbered(count: int, names: str) -> str:
    """Count things for people."""
    return f"{count:,} {names.removesuffix('s') if count == 1 else names}"
