"""How does an organization get prices of its own, and which prices are in force for it?

Price books are immutable: a change makes a new version of the organization's own book, which comes before everyone's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count

from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey, Content
from gatekeeper.domain.errors import CurrencyMismatch, InvalidField, OrganizationNotFound
from gatekeeper.domain.model_match import Clause
from gatekeeper.domain.names import check_reason
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.price_book import PriceBook, PricedModel
from gatekeeper.domain.price_documents import write_decimal
from gatekeeper.domain.prices import MODEL_STRING_LENGTH_MAX
from gatekeeper.domain.rates import DatedRates, ModelRates, Rate, rates_at
from gatekeeper.storage import audit, budgets, price_books
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.price_versions import versions

from .prices import BOOK_CURRENCY

AGENT_TYPE_LENGTH_MAX = 128
# Models or agent types that an organization prices by itself: each of them is in every version of its book.
OWN_PRICES_MAX = 1000
RATES = ("input", "cached_input", "cache_write_input", "output", "call")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """What a model costs per million tokens, in the organization's currency, from a UTC date or from now on.

    Input that is read from or written to a cache costs what other input costs where it has no rate of its own.
    """

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write_input: Decimal | None = None
    since: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTypePrice:
    """What a thousand tokens without a model cost; the agent type `*` stands for all that have no price."""

    agent_type: str
    per_1000_tokens: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesInForce:
    """The books that count, the first that has a price deciding, at an instant of the database's clock."""

    currency: str
    books: Sequence[PriceBook]
    at: datetime


async def prices_in_force(pool: Pool, name: str | None) -> PricesInForce:
    """Return the books of an organization, or everyone's. Raises `OrganizationNotFound`."""
    with wrap_errors():
        async with pool.connection() as connection:
            everyones = await price_books.newest(connection)
            if name is None:
                at, own, currency = await database_now(connection), None, BOOK_CURRENCY
            else:
                found = await budgets.find_organization(connection, name)
                if found is None:
                    raise OrganizationNotFound(organization=name)
                at, organization = found
                own, currency = await _own_book(connection, organization), organization.currency
    documents = [own.to_document()] if own else []
    if everyones is not None and currency == BOOK_CURRENCY:
        documents.append(everyones)
    return PricesInForce(currency=currency, books=tuple(map(PriceBook.from_document, documents)), at=at)


async def set_price(
    pool: Pool,
    name: str,
    price: ModelPrice | AgentTypePrice,
    actor: Actor,
    key: AuditKey,
    *,
    reason: str = "",
    currencies: Collection[str] = (),
) -> str:
    """Put a price in force for an organization, and write down who did; return the version of its book that has it.

    `currencies` are those that its amounts were given in; empty ones stand for the organization's.
    Raises `OrganizationNotFound`, `CurrencyMismatch`, or `InvalidField` for a price that cannot be.
    """
    check_reason(reason)
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            found = await budgets.lock_organization(connection, name)
            if found is None:
                raise OrganizationNotFound(organization=name)
            now, organization = found
            if foreign := sorted({*currencies} - {"", organization.currency}):
                raise CurrencyMismatch(organization=name, currency=organization.currency, given=foreign[0])
            before = await _own_book(connection, organization) or PriceBook(version="none")
            taken = await versions(connection, name)
            version = next(version for n in count(len(taken) + 1) if (version := f"{name}-{n}") not in taken)
            book = _priced(replace(before, version=version), price, now.astimezone(UTC).date())
            await price_books.add(connection, name, version, book.to_document())
            event = AuditEvent(
                action=AuditAction.PRICE_SET,
                actor=actor,
                subject=_subject(price),
                occurred_at=now,
                before=_content(before, price, now),
                after=_content(book, price, None),
                reason=reason,
            )
            await audit.write_event(connection, name, event, key)
    return version


async def _own_book(connection: Connection, organization: Organization) -> PriceBook | None:
    if not organization.price_version:
        return None
    document = await price_books.find(connection, organization.organization, organization.price_version)
    return None if document is None else PriceBook.from_document(document)


def _subject(price: ModelPrice | AgentTypePrice) -> str:
    if isinstance(price, AgentTypePrice):
        return f"price of agent type {price.agent_type.lower()!r}"
    return f"price of model {price.model.lower()!r}"


def _content(book: PriceBook, price: ModelPrice | AgentTypePrice, at: datetime | None) -> Content | None:
    """Return what a book says of what `price` is of: at an instant, or as it is set (None)."""
    if isinstance(price, AgentTypePrice):
        rate = book.agent_types.get(price.agent_type.lower())
        return None if rate is None else {"per_1000_tokens": write_decimal(rate), "book": book.version}
    since = None
    if at is None:
        rates: ModelRates | None = _rates(price)
        since = None if price.since is None else price.since.isoformat()
    else:
        dated = next((model.prices for model in book.models if model.name == price.model.lower()), ())
        rates = rates_at(dated, at)
    if rates is None:
        return None
    given: dict[str, Rate | None] = {name: getattr(rates, name) for name in RATES}
    texts = {name: None if rate is None else _text(rate) for name, rate in given.items()}
    return {**texts, "from": since, "book": book.version}


def _text(rate: Rate) -> str:
    document = rate.to_document()
    return document if isinstance(document, str) else json.dumps(document)


def _priced(book: PriceBook, price: ModelPrice | AgentTypePrice, today: date) -> PriceBook:
    try:
        if isinstance(price, AgentTypePrice):
            return _with_agent_type(book, price)
        return _with_model(book, price, today)
    except ValueError as error:
        raise InvalidField(field="price", problem=str(error)) from error


def _with_agent_type(book: PriceBook, price: AgentTypePrice) -> PriceBook:
    agent_type = price.agent_type.lower()
    if not 0 < len(agent_type) <= AGENT_TYPE_LENGTH_MAX:
        raise InvalidField(field="agent_type", problem=f"must be 1 to {AGENT_TYPE_LENGTH_MAX} characters")
    if len(book.agent_types.keys() - {agent_type}) >= OWN_PRICES_MAX:
        raise InvalidField(field="agent_type", problem=f"would be more than the {OWN_PRICES_MAX} that a book may have")
    return replace(book, agent_types={**book.agent_types, agent_type: price.per_1000_tokens})


def _with_model(book: PriceBook, price: ModelPrice, today: date) -> PriceBook:
    name = price.model.lower()
    if not 0 < len(name) <= MODEL_STRING_LENGTH_MAX:
        raise InvalidField(field="model", problem=f"must be 1 to {MODEL_STRING_LENGTH_MAX} characters")
    if price.since is not None and price.since < today:
        raise InvalidField(field="from", problem=f"lies in the past; it is {today} by UTC")
    others = tuple(model for model in book.models if model.name != name)
    if len(others) >= OWN_PRICES_MAX:
        raise InvalidField(field="model", problem=f"would be more than the {OWN_PRICES_MAX} that a book may have")
    before = next((model.prices for model in book.models if model.name == name), ())
    prices = _scheduled(before, DatedRates(since=price.since, rates=_rates(price)), today)
    model = PricedModel(name=name, match=Clause(kind="equals", text=name), prices=prices)
    return replace(book, models=(*others, model))


def _scheduled(before: tuple[DatedRates, ...], new: DatedRates, today: date) -> tuple[DatedRates, ...]:
    """Put new rates among those that are in force or will be; of several that hold, the last one counts."""
    to_come = [rates for rates in before if rates.since is not None and rates.since > today]
    if new.since is None:
        return (new, *to_come)
    # Without rates at first, the model is not ours to price before that day.
    in_force = [rates for rates in before if rates not in to_come] or [DatedRates()]
    others = [rates for rates in (*in_force, *to_come) if rates.since != new.since]
    return tuple(sorted((*others, new), key=lambda rates: rates.since or date.min))


def _rates(price: ModelPrice) -> ModelRates:
    return ModelRates(
        input=Rate(base=price.input),
        output=Rate(base=price.output),
        cached_input=None if price.cached_input is None else Rate(base=price.cached_input),
        cache_write_input=None if price.cache_write_input is None else Rate(base=price.cache_write_input),
    )
