"""Which situations leave a caller without a verdict?

A denial is a verdict and a value (`admission.Denied`); these are the others. Each class's docstring is its message,
each attribute ends up in the metadata of the answer::

    GatekeeperError
    ├── InvalidField
    ├── NotFound
    │   ├── OrganizationNotFound
    │   ├── ScopeNotFound
    │   ├── BudgetNotFound
    │   ├── ReservationNotFound
    │   ├── OverrideNotFound
    │   ├── TokenNotFound
    │   └── InvoiceNotFound
    ├── Unauthenticated
    │   ├── TokenMissing
    │   ├── TokenInvalid
    │   ├── TokenExpired
    │   └── TokenRevoked
    ├── NotPermitted
    │   ├── RoleInsufficient
    │   ├── OutOfScope
    │   └── IdentityUnmapped
    ├── ReservationMismatch
    ├── OverrideMismatch
    ├── TokenExists
    ├── WrongState
    │   ├── AlreadyCommitted
    │   ├── AlreadyReleased
    │   ├── ReservationExpired
    │   ├── AmountBelowHeld
    │   ├── PeriodOver
    │   ├── HoldTooLarge
    │   ├── HoldTooLong
    │   ├── CurrencyMismatch
    │   ├── UnpricedModel
    │   ├── OverrideOver
    │   ├── OverrideNeedsAnother
    │   ├── ReservationInUse
    │   ├── PeriodNotOver
    │   ├── InvoiceNotCreditable
    │   ├── NothingToInvoice
    │   ├── BillingIncomplete
    │   └── FormatUnavailable
    ├── ReservationAmbiguous
    ├── EtagMismatch
    ├── QueueFull
    ├── RateLimited
    ├── TestedAlready
    ├── TooManyHolds
    ├── TooManyOverrides
    ├── TooManyStreams
    ├── DatabaseUnavailable
    ├── Draining
    ├── ReadTooSlowly
    └── DeadlineExceeded
"""

from __future__ import annotations


class GatekeeperError(Exception):
    """The call got no verdict."""

    def __init__(self, **metadata: str) -> None:
        """Fill the docstring's placeholders from `metadata`, which is kept for the answer."""
        self.metadata = metadata
        super().__init__((type(self).__doc__ or "").format_map(metadata))


class InvalidField(GatekeeperError):
    """{field}: {problem}"""


class NotFound(GatekeeperError):
    """What the call names does not exist."""


class OrganizationNotFound(NotFound):
    """There is no organization {organization!r}. Open it with SetCap or `gatekeeper init`, or mend its name."""


class ScopeNotFound(NotFound):
    """{organization!r} demands known scopes, and {kind} {id!r} has no budget. Set a cap on it, or mend its name."""


class BudgetNotFound(NotFound):
    """{organization!r} has no monthly budget of {scope} in {period}. See ListBudgets or `gatekeeper status`."""


class ReservationNotFound(NotFound):
    """There is no reservation {reservation_id!r}."""


class OverrideNotFound(NotFound):
    """There is no override {override_id!r}."""


class TokenNotFound(NotFound):
    """There is no token {token!r} in force."""


class InvoiceNotFound(NotFound):
    """There is no invoice {number!r}. ListInvoices, or `gatekeeper invoice --list`, tells which there are."""


class Unauthenticated(GatekeeperError):
    """Who calls is not known."""


class TokenMissing(Unauthenticated):
    """No token came with the call. Send `authorization: Bearer <token>`; `gatekeeper token create` makes one."""


class TokenInvalid(Unauthenticated):
    """The token is none of this installation. Send `authorization: Bearer <token>` as it was shown once."""


class TokenExpired(Unauthenticated):
    """The token expired at {expire_time}. An admin makes a new one: `gatekeeper token create`."""


class TokenRevoked(Unauthenticated):
    """The token is revoked. An admin makes a new one: `gatekeeper token create`."""


class NotPermitted(GatekeeperError):
    """The caller may not do this."""


class RoleInsufficient(NotPermitted):
    """{method} takes one of the roles {roles}; this caller is {role}."""


class OutOfScope(NotPermitted):
    """This caller is for {scope} only: set {field} to {id!r}."""


class IdentityUnmapped(NotPermitted):
    """No role is given to {identity!r}. An admin gives it one: `gatekeeper token create --{kind} …`."""


class ReservationMismatch(GatekeeperError):
    """Reservation {reservation_id!r} was made with other content. Use a new id for a new call."""


class OverrideMismatch(GatekeeperError):
    """Override {override_id!r} was made on other terms. Use a new request_id for a new override."""


class TokenExists(GatekeeperError):
    """There is a token {token!r} in force. Revoke it first, or choose another name."""


class WrongState(GatekeeperError):
    """The call does not fit the state of what it names."""


class AlreadyCommitted(WrongState):
    """Reservation {reservation_id!r} is committed, at {committed}. A commit stands."""


class AlreadyReleased(WrongState):
    """Reservation {reservation_id!r} is released. Reserve anew for another call."""


class ReservationExpired(WrongState):
    """Reservation {reservation_id!r} expired at {expire_time}. Reserve anew; a commit is still accepted."""


class AmountBelowHeld(WrongState):
    """Reservation {reservation_id!r} holds {held}; extending only raises it."""


class PeriodOver(WrongState):
    """Reservation {reservation_id!r} counts for {period}, which is over: prolong it, but reserve anew for more."""


class HoldTooLarge(WrongState):
    """{amount} is more than the {percent} % of the {budget} that one hold may take, {most}."""


class HoldTooLong(WrongState):
    """Reservation {reservation_id!r} may be held until {latest} at most. Commit or release it, and reserve anew."""


class CurrencyMismatch(WrongState):
    """{organization!r} keeps its books in {currency}, not in {given}."""


class UnpricedModel(WrongState):
    """No price is known for model {model!r}. Commit with an amount, or ask an admin to price it."""


class OverrideOver(WrongState):
    """Override {override_id!r} is {state}. Make a new one."""


class OverrideNeedsAnother(WrongState):
    """Override {override_id!r} of {amount} needs a second admin: another one than {granted_by!r}, by an older token."""


class ReservationInUse(WrongState):
    """Reservation {reservation_id!r} was admitted already; an override for one call has to come before it."""


class PeriodNotOver(WrongState):
    """{period} has not begun: it is {current}. Name a month up to that one."""


class InvoiceNotCreditable(WrongState):
    """{number!r} cannot be taken back: {problem}."""


class NothingToInvoice(WrongState):
    """{organization!r} has no executions in {period}, and this server issues no invoice over nothing."""


class BillingIncomplete(WrongState):
    """An invoice in this format must name {missing}: the buyer's by `gatekeeper billing`, ours by the settings."""


class FormatUnavailable(WrongState):
    """This server cannot render {format}: install budget-gatekeeper[{extra}] there."""


class ReservationAmbiguous(GatekeeperError):
    """Several organizations have a reservation {reservation_id!r}; name the organization."""


class EtagMismatch(GatekeeperError):
    """It has changed since you read it: its etag is {etag!r}. Read it again, then decide anew."""


class QueueFull(GatekeeperError):
    """Too many calls wait. Try again with the same ids a little later."""


class RateLimited(GatekeeperError):
    """This caller makes more than {rate} calls a second. Try again with the same ids a little later."""


class TestedAlready(GatekeeperError):
    """{organization!r} has had a test alert this minute. Look for it with ListAlerts, or try again in a minute."""


class TooManyHolds(GatekeeperError):
    """{whose} has {most} open holds, as many as it may. Commit or release what is done, or wait until some expire."""


class TooManyOverrides(GatekeeperError):
    """{whose} has {most} overrides that are {state}, as many as it may. Some have to be ended or declined first."""


class TooManyStreams(GatekeeperError):
    """{whose} has {most} streams open, as many as it may. End one, or come back a little later."""


class DatabaseUnavailable(GatekeeperError):
    """The ledger cannot be reached. Try again with the same ids: nothing is charged twice."""


class Draining(GatekeeperError):
    """This process is stopping. Try again with the same ids: another one answers."""


class ReadTooSlowly(GatekeeperError):
    """Nothing was read of the answer for {seconds} s. Call again, and read what comes as it comes."""


class DeadlineExceeded(GatekeeperError):
    """The deadline passed before the call was decided; nothing was held."""
