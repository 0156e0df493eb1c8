"""Which price list counts for an organization right now?"""

from __future__ import annotations

from collections import OrderedDict

import structlog

from gatekeeper.domain.organization import Organization
from gatekeeper.domain.price_book import PriceBook
from gatekeeper.domain.prices import PriceList
from gatekeeper.storage import price_books
from gatekeeper.storage.connections import Connection

log = structlog.get_logger(__name__)

# Price lists kept in memory; an organization without a book of its own shares one with all others.
PRICE_LISTS_MAX = 64

# The prices of the default book are in this currency; for others only an organization's own book counts.
BOOK_CURRENCY = "USD"


class Prices:
    """The price books of this process: the default one, and those of organizations that were asked for."""

    def __init__(self) -> None:
        """Start without any; `refresh` reads the default book."""
        self._default: PriceBook | None = None
        self._unreadable = ""
        self._lists: OrderedDict[tuple[str, str, bool], PriceList] = OrderedDict()

    async def refresh(self, connection: Connection) -> None:
        """Read the default book again if another version is in force."""
        version = await price_books.newest_version(connection)
        if version is None or (self._default is not None and self._default.version == version):
            return
        document = await price_books.newest(connection)
        if document is None or version == self._unreadable:
            return
        try:
            self._default = PriceBook.from_document(document)
        except ValueError as error:
            # A newer server may have put it in force; this one goes on by the book that it has.
            self._unreadable = version
            log.warning("prices.unreadable", version=version, reason=str(error))
            return
        self._lists.clear()

    def known(self, organization: Organization) -> PriceList | None:
        """Return the organization's list if it is in memory."""
        return self._lists.get(self._key(organization))

    async def load(self, connection: Connection, organization: Organization) -> PriceList:
        """Return the organization's list, its own book before the default one."""
        key = self._key(organization)
        own = await self._own(connection, organization)
        default = self._default if organization.currency == BOOK_CURRENCY else None
        books = tuple(book for book in (own, default) if book is not None)
        self._lists[key] = PriceList(books=books)
        if len(self._lists) > PRICE_LISTS_MAX:
            self._lists.popitem(last=False)
        return self._lists[key]

    @staticmethod
    def _key(organization: Organization) -> tuple[str, str, bool]:
        in_book_currency = organization.currency == BOOK_CURRENCY
        own = organization.organization if organization.price_version else ""
        return own, organization.price_version, in_book_currency

    @staticmethod
    async def _own(connection: Connection, organization: Organization) -> PriceBook | None:
        if not organization.price_version:
            return None
        document = await price_books.find(connection, organization.organization, organization.price_version)
        return None if document is None else PriceBook.from_document(document)
