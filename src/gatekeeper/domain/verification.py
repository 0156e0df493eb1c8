"""What is a contradiction in the books, and how is it said?"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .budget import BalanceKey
from .money import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where the books contradict themselves: `what` is `found` there instead of `expected`.

    `key` names a balance, `reservation_id` a reservation; amounts are None where there is none.
    """

    what: str
    organization: str
    key: BalanceKey | None = None
    reservation_id: str = ""
    expected: Decimal | None = None
    found: Decimal | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        place = [repr(self.organization)]
        if self.key is not None:
            (kind, scope_id), window, period = self.key
            place += [f"{kind.lower()} {scope_id!r}" if scope_id else kind.lower(), f"{window.lower()} {period}"]
        if self.reservation_id:
            place.append(f"reservation {self.reservation_id!r}")
        line = f"{', '.join(place)}: {self.what}"
        if self.expected is None and self.found is None:
            return line
        return f"{line}: expected {_text(self.expected)}, found {_text(self.found)}"


def _text(amount: Decimal | None) -> str:
    return "nothing" if amount is None else plain(amount)
