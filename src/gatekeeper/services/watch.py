"""How does everybody who watches an organization see at once what has changed, for one read of it?

Whoever commits a change tells `Changes`. Four times a second at most, those who watch are told in this process, and by
one notification those in the others. What is watched is read once for all who watch it, and each of them gets what has
changed since what it was last sent: one that reads slowly skips what was between, and nothing waits for it. What no
notification told of is found within seconds, by reading anew: overrides that end, periods that begin, and changes of a
process that ended before it could tell. Where nothing has changed, a message without budgets tells of such reads.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from gatekeeper.domain.errors import DatabaseUnavailable, GatekeeperError
from gatekeeper.storage import notifications
from gatekeeper.storage.connections import Pool, open_pool, wrap_errors

from .changes import EVERY, Changes
from .views import Versions, View

log = structlog.get_logger(__name__)

# Between two notifications, and between two reads of an organization: what a person can follow.
INTERVAL_S = 0.25
# What is watched is read anew so often at least.
REFRESH_S = 5.0
# Who watches is looked after so often, whether or not there is something new.
BEAT_S = 2.0
# A read that takes long, since it is large or the server has much to do, is made less often: a fifth of the time.
PAUSE_TIMES = 4
# But as often as this, and again so long after one that failed.
PAUSE_MAX_S = 1.0
# Whoever was sent nothing for so long hears that it has missed nothing, if the database could be asked meanwhile.
QUIET_S = 5.0
# Between two messages about one organization: each takes 0.2 ms of the event loop, and calls must not wait for many at
# a time. Where there are too many streams for that, more are sent at a time, so that all hear within one pause.
REST_S = 0.004
# More messages than this an organization does not have in a second: where many watch it, it is read less often,
WATCHERS_PER_S = 200
# but as often as this.
INTERVAL_MAX_S = 2.0
# How long a read may take before who asked for it is told that the database is away.
READ_MAX_S = 5.0
# Reads under way at a time: half of the pool's connections, by default, are left to everybody else.
READS_MAX = 2

Read = Callable[[str], Awaitable[View]]
Write = Callable[[View], bytes]


class Watches:
    """What is watched in this process, by organization."""

    def __init__(
        self, *, changes: Changes, own: Pool, database_url: str, read: Read, write: Write, origin: str
    ) -> None:
        """Hear of `changes`, read what is watched, and write messages of it.

        Other processes are told by `own` and listened to at `database_url`; `origin` names this one to them.
        """
        # Whether changes in other processes are heard of at once.
        self.is_listening = False
        self._changes = changes
        self._own = own
        self._database_url = database_url
        self._read = read
        self._write = write
        self._origin = origin
        self._boards: dict[str, Board] = {}
        self._places = asyncio.Semaphore(READS_MAX)
        self._watched = asyncio.Event()

    def __len__(self) -> int:
        """Return how many organizations are watched."""
        return len(self._boards)

    async def messages(self, organization: str) -> AsyncGenerator[bytes | None]:
        """Yield a message with a snapshot of now, then one for what has changed, four a second at most.

        After QUIET_S without, there is one that nothing has changed, unless nobody can know. None comes every BEAT_S
        in between. Raises `OrganizationNotFound` or `DatabaseUnavailable` instead of the first; an outage later on is
        waited for.
        """
        board = self._join(organization)
        try:
            await board.ask()
            version, sent_s = 0, 0.0
            while True:
                is_new = await board.is_newer(version)
                if is_new or sent_s < min(board.read_s, time.monotonic() - QUIET_S):
                    message, version, sent_s = board.message(version), board.version, time.monotonic()
                    yield message
                else:
                    yield None
        finally:
            self._leave(board)

    async def tell(self) -> None:
        """Wait for changes, and tell of them, here and in other processes. Raises `DatabaseUnavailable`.

        To be done every INTERVAL_S.
        """
        await self._changes.wait()
        names = self._changes.drain()
        self._mark(names)
        with wrap_errors():
            async with self._own.connection() as connection:
                await notifications.notify(connection, payloads(self._origin, sorted(names)))

    async def listen(self) -> None:
        """Hear of changes in other processes, once somebody watches, until the connection ends.

        Raises `DatabaseUnavailable`. What was missed meanwhile is read at the next beginning.
        """
        await self._watched.wait()
        with wrap_errors():
            async with (
                open_pool(self._database_url, name="listen", size_max=1, hot=False) as pool,
                pool.connection() as connection,
            ):
                await notifications.listen(connection)
                self.is_listening = True
                self._mark([EVERY])
                try:
                    async for payload in notifications.payloads(connection):
                        self._mark(names_in(payload, self._origin))
                finally:
                    self.is_listening = False

    def _mark(self, names: Iterable[str]) -> None:
        """Have organizations read anew that are watched."""
        for name in names:
            for board in self._boards.values() if name == EVERY else filter(None, [self._boards.get(name)]):
                board.mark()

    def _join(self, organization: str) -> Board:
        self._watched.set()
        board = self._boards.get(organization)
        if board is None:
            board = self._boards[organization] = Board(organization, self._read, self._write, self._places)
        board.watchers += 1
        return board

    def _leave(self, board: Board) -> None:
        board.watchers -= 1
        if not board.watchers:
            del self._boards[board.organization]
            board.close()


class Board:
    """What those who watch one organization are shown, and the task that reads it for all of them."""

    def __init__(self, organization: str, read: Read, write: Write, places: asyncio.Semaphore) -> None:
        """Begin to read, while there is a place."""
        self.organization = organization
        self.watchers = 0
        # When it was last read, by this process's monotonic clock.
        self.read_s = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        self._read = read
        self._write = write
        self._places = places
        self._versions = Versions()
        self._messages: dict[int, bytes] = {}
        self._asking: list[asyncio.Future[None]] = []
        self._marked = asyncio.Event()
        self._following = asyncio.create_task(self._follow())

    @property
    def version(self) -> int:
        """The version of what is shown; 0 for nothing yet."""
        return self._versions.version

    def message(self, version: int) -> bytes:
        """Return what is new to those who have seen a version, written once for all of them."""
        message = self._messages.get(version)
        if message is None:
            message = self._messages[version] = self._write(self._versions.since(version))
        return message

    async def is_newer(self, version: int) -> bool:
        """Wait for something that is newer than a version, for BEAT_S at most; return whether there is."""
        if self.version == version:
            woken = asyncio.get_running_loop().create_future()
            self._waiting.append(woken)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await woken
        return self.version > version

    def pause_s(self, took_s: float) -> float:
        """Return for how long not to read again after a read that took so long."""
        for_reads_s = min(max(INTERVAL_S, PAUSE_TIMES * took_s), PAUSE_MAX_S)
        return max(for_reads_s, min(self.watchers / WATCHERS_PER_S, INTERVAL_MAX_S))

    def mark(self) -> None:
        """Have it read soon."""
        self._marked.set()

    async def ask(self) -> None:
        """Wait for a read that begins after now. Raises what it raises, or `DatabaseUnavailable` where it hangs."""
        asked = asyncio.get_running_loop().create_future()
        self._asking.append(asked)
        self.mark()
        try:
            async with asyncio.timeout(READ_MAX_S):
                await asked
        except TimeoutError:
            raise DatabaseUnavailable from None

    def close(self) -> None:
        """Read no more."""
        self._following.cancel()

    async def _follow(self) -> None:
        while True:
            version = self.version
            pause_s = await self._look()
            self._waiting = [woken for woken in self._waiting if not woken.done()]
            if self.version > version:
                # All of them hear within the pause.
                pause_s -= await self._wake(pause_s)
            await asyncio.sleep(pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S - pause_s):
                    await self._marked.wait()

    async def _wake(self, within_s: float) -> float:
        """Wake those who wait, a few at a time, within about so long; return for how long that was waited."""
        waiting, self._waiting = self._waiting, []
        together = max(1, math.ceil(len(waiting) * REST_S / within_s))
        waited_s = 0.0
        for start in range(0, len(waiting), together):
            if start:
                await asyncio.sleep(REST_S)
                waited_s += REST_S
            _answer(waiting[start : start + together], None)
        return min(waited_s, within_s)

    async def _look(self) -> float:
        """Read once, tell those who asked for it, and return for how long not to read again."""
        began_s = time.monotonic()
        async with self._places:
            asking, self._asking = self._asking, []
            self._marked.clear()
            try:
                async with asyncio.timeout(READ_MAX_S):
                    self._show(await self._read(self.organization))
            except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, and it is tried again
                _answer(asking, self._known(error))
                self.mark()
                return PAUSE_MAX_S
        _answer(asking, None)
        self.read_s = began_s
        return self.pause_s(time.monotonic() - began_s)

    def _known(self, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            return DatabaseUnavailable()
        if not isinstance(error, GatekeeperError):
            log.error("watch.read_failed", organization=self.organization, exc_info=error)
        return error

    def _show(self, view: View) -> None:
        self._messages.clear()
        self._versions.take(view)


def _answer(asking: Iterable[asyncio.Future[None]], error: Exception | None) -> None:
    """Tell those who asked or wait, unless they do no more."""
    for asked in asking:
        if asked.done():
            continue
        if error is None:
            asked.set_result(None)
        else:
            asked.set_exception(error)


def payloads(origin: str, names: Sequence[str]) -> list[str]:
    """Write notifications that name all of these, each small enough."""
    payload = json.dumps({"from": origin, "organizations": names}, ensure_ascii=False, separators=(",", ":"))
    if len(payload.encode()) <= notifications.PAYLOAD_BYTES_MAX:
        return [payload]
    middle = len(names) // 2
    return [*payloads(origin, names[:middle]), *payloads(origin, names[middle:])]


def names_in(payload: str, origin: str) -> Sequence[str]:
    """Read whom a notification names: nobody if it is our own, `EVERY` if it is of a kind that we do not know."""
    try:
        told = json.loads(payload)
        names = [str(name) for name in told["organizations"]]
        return [] if told["from"] == origin else names
    except (ValueError, TypeError, LookupError):
        return [EVERY]
