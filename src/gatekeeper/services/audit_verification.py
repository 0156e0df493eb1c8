"""Was the audit trail tampered with? Every seal and every link is made again and compared, on a trail that is in use.

What one who can do anything with the database could do is found so:

- A row that was changed does not fit its seal; without the key, nobody can make another that fits.
- A row that was removed is missed by its link; a link that was removed, by the sequence and by the next one.
- A row that was put in among others has no link; one at the end has no right seal, unless it was made with the key.
- Rows or links that changed places do not fit their links.
- An entry that was sealed without the key, while we have one, is told, unless a head that was kept elsewhere vouches
  for it: one that is in the chain, at its link or behind it.
- A trail that was cut off, or made anew from some point on, is found by comparison with a head that was kept elsewhere.

Denials from before there was a trail have no seal, and of them nothing can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from gatekeeper.domain.audit import KEY_ID_BYTES, AuditKey, AuditSource, first_link, link
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.domain.verification import Difference
from gatekeeper.storage import audit_verification as storage
from gatekeeper.storage import budgets, schema
from gatekeeper.storage.audit_chain import OCCURRED, Head
from gatekeeper.storage.audit_verification import Link, SealedRow
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection
from gatekeeper.storage.verification import DIFFERENCES_MAX

from .audit_seals import Seals, SealState
from .pace import paced

# What verification tells while it runs: what it is at, how many links are done, and how many there are.
Progress = Callable[[str, int, int], None]

# Links between two reports of progress.
PROGRESS_STEP = 1000
NO_HEAD = Head(0, b"")
# How long a row may wait for its link.
PENDING_MAX = timedelta(seconds=60)
UNCHAINED_ADVICE = "let a server run for a while and verify again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The last link of an organization's chain, to be kept elsewhere, or as it was kept."""

    organization: str
    sequence: int
    link: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerification:
    """What was found, and how much was looked at, at `checked_at` by the database's clock.

    `pending` rows have a right seal and no link yet, which is a difference after a minute; `older` denials were made
    before there was a trail. `complete` is False where so much was found in one chain that not all of it is listed.
    """

    checked_at: datetime
    heads: Sequence[ChainHead]
    links: int
    pending: int
    older: int
    differences: Sequence[Difference]
    complete: bool


async def verify_trail(
    database_url: str,
    key: AuditKey,
    *,
    organization: str | None = None,
    kept: Sequence[ChainHead] = (),
    progress: Progress | None = None,
    share: float = 1,
) -> AuditVerification:
    """Verify all chains, or that of one organization, in one snapshot of the database and without a lock.

    `kept` are heads from elsewhere, which must be in the chains, and vouch for what was sealed without a key; `share`
    is the part of the event loop's time that this may take.
    Raises `SchemaError`, `OrganizationNotFound`, or psycopg.Error where the database is away.
    """
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="gatekeeper-verify"
    ) as connection:
        await schema.require_current(connection)
        async with connection.transaction():
            await connection.execute(storage.BEGIN)
            return await _verify(connection, Seals(key), organization, kept, progress or (lambda *_: None), share=share)


async def _verify(
    connection: Connection,
    seals: Seals,
    organization: str | None,
    kept: Sequence[ChainHead],
    progress: Progress,
    *,
    share: float,
) -> AuditVerification:
    checked_at = await database_now(connection)
    due_before = (checked_at - PENDING_MAX).astimezone(UTC).isoformat(timespec="microseconds")
    heads = await storage.read_heads(connection)
    named = await _names(connection, organization, kept)
    total = sum(head.sequence for name, head in heads.items() if name in named)
    chains: list[_Chain] = []
    older = 0
    done = 0
    for name in named:
        progress(name, done, total)
        own = [head for head in kept if head.organization == name]
        there = await storage.read_links_at(connection, name, [head.sequence for head in own])
        vouched = max((head.sequence for head in own if (head.sequence, head.link) in there), default=0)
        chain = _Chain(name, seals, own, vouched, due_before)
        async for entry in paced(storage.read_links(connection, name), share):
            chain.take(entry)
            done += 1
            if done % PROGRESS_STEP == 0:
                progress(name, done, total)
        chain.end(heads.get(name, NO_HEAD))
        await _find_unchained(connection, chain)
        older += await storage.count_older(connection, name)
        chains.append(chain)
    progress("", total, total)
    return AuditVerification(
        checked_at=checked_at,
        heads=[ChainHead(organization=c.organization, sequence=c.last, link=c.previous) for c in chains if c.last],
        links=done,
        pending=sum(chain.pending for chain in chains),
        older=older,
        differences=[difference for chain in chains for difference in chain.found],
        complete=all(chain.complete for chain in chains),
    )


async def _names(connection: Connection, organization: str | None, kept: Iterable[ChainHead]) -> list[str]:
    """Return whose chains are to be verified. Raises `OrganizationNotFound`."""
    found = set(await storage.list_organizations(connection, organization))
    found |= {head.organization for head in kept if organization in {None, head.organization}}
    if organization and not found and await budgets.find_organization(connection, organization) is None:
        raise OrganizationNotFound(organization=organization)
    return sorted(found)


async def _find_unchained(connection: Connection, chain: _Chain) -> None:
    for source in AuditSource:
        async for entry in storage.read_unchained(connection, chain.organization, source):
            chain.take_unchained(source, entry)


@dataclass(slots=True)
class _Chain:
    """Goes along one chain, and keeps what is wrong with it. `last` is the last link's place, `previous` the link.

    A kept head vouches for the links up to `vouched`; rows from before `due_before` should have a link.
    """

    organization: str
    seals: Seals
    kept: Sequence[ChainHead]
    vouched: int
    due_before: str
    last: int = 0
    previous: bytes = b""
    pending: int = 0
    complete: bool = True
    found: list[Difference] = field(default_factory=list)

    def take(self, entry: Link) -> None:
        """Compare the next link with the one before it and with its row."""
        whole = entry.sequence == self.last + 1
        if not whole:
            self._tell(_missing(self.last + 1, entry.sequence - 1))
        before = self.previous if self.last else first_link(self.organization)
        self.last, self.previous = entry.sequence, entry.link
        self._compare_kept(entry)
        name = f"{entry.source.lower()} {entry.source_id}"
        if entry.row is None:
            self._tell(f"link {entry.sequence}: its {name} is gone")
            return
        self._judge(f"link {entry.sequence}: {name}", entry.row, vouched=entry.sequence <= self.vouched)
        if whole and entry.row.seal is not None and entry.link != _link(before, entry, entry.row.seal):
            self._tell(f"link {entry.sequence}: it does not fit the one before it and {name}", entry.row)

    def take_unchained(self, source: AuditSource, entry: storage.Unchained) -> None:
        """Judge a row that no link is about."""
        name = f"{source.lower()} {entry.source_id}"
        fine = self._judge(name, entry.row, vouched=False)
        if entry.passed_by:
            self._tell(f"{name}: it was put in, for it has no link, and a later one has", entry.row)
        elif fine:
            self.pending += 1
            since = entry.row.content[OCCURRED[source]] or ""
            if since < self.due_before:
                self._tell(f"{name}: not chained since {since}; {UNCHAINED_ADVICE}", entry.row)

    def end(self, head: Head) -> None:
        """Compare the last link with the head, and with heads that were kept elsewhere."""
        if head is NO_HEAD and self.last:
            self._tell(f"its head is gone; the last link is {self.last}")
        elif head.sequence != self.last:
            self._tell(f"its head is at link {head.sequence}, and the last link is {self.last}")
        elif head is not NO_HEAD and head.link != (self.previous or first_link(self.organization)):
            self._tell(f"its head is not link {self.last}")
        for kept in self.kept:
            if kept.sequence > self.last:
                self._tell(f"link {kept.sequence}, which was kept elsewhere, is missing; the last link is {self.last}")

    def _compare_kept(self, entry: Link) -> None:
        if any(head.sequence == entry.sequence and head.link != entry.link for head in self.kept):
            self._tell(f"link {entry.sequence}: it is not the one that was kept elsewhere")

    def _judge(self, place: str, row: SealedRow, *, vouched: bool) -> bool:
        """Tell what is wrong with a seal; return whether nothing is."""
        state = self.seals.state(row.content, row.seal)
        fine = state is SealState.RIGHT or (state is SealState.KEYLESS and vouched)
        if not fine:
            self._tell(f"{place}: {_wrong(state, row.seal)}", row)
        return fine

    def _tell(self, what: str, row: SealedRow | None = None) -> None:
        if len(self.found) == DIFFERENCES_MAX:
            self.complete = False
            return
        reservation_id = row.content.get("reservation_id") if row else None
        self.found.append(Difference(what=what, organization=self.organization, reservation_id=reservation_id or ""))


def _link(before: bytes, entry: Link, seal: bytes) -> bytes:
    return link(before, entry.sequence, AuditSource(entry.source), entry.source_id, seal)


def _missing(first: int, last: int) -> str:
    if last < first:
        return f"link {last + 1} is out of place"
    return f"link {first} is missing" if first == last else f"links {first} to {last} are missing"


def _wrong(state: SealState, seal: bytes | None) -> str:
    match state:
        case SealState.MISSING:
            return "it has no seal, and an earlier one has"
        case SealState.KEYLESS:
            return "it is sealed without the key, and no head that was kept elsewhere vouches for it"
        case SealState.FOREIGN:
            return f"it is sealed with another key, {(seal or b'')[:KEY_ID_BYTES].hex()}"
        case _:
            return "it was changed, for its seal does not fit"
