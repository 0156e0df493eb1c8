"""How bad can a receiver of webhooks be? It fails, hangs, hangs up, and takes what it then confirms too late."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from random import Random
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

# So often is an event badly received, then well: it must arrive before it is given up.
WHIMS_MAX = 4


class Whim(StrEnum):
    """What becomes of an event. It was taken if it ACCEPTS or FORGETS: to be sent again then is a duplicate."""

    ACCEPTS = "ACCEPTS"
    FAILS = "FAILS"
    HANGS = "HANGS"
    HANGS_UP = "HANGS_UP"
    FORGETS = "FORGETS"


TAKEN = frozenset({Whim.ACCEPTS, Whim.FORGETS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An attempt at an event that was rightly signed."""

    webhook_id: str
    body: Any
    whim: Whim


class Receiver(ThreadingHTTPServer):
    """Receives webhooks on a port of this machine, by its whims, which follow from `chance`."""

    daemon_threads = True
    # Eight senders come at once.
    request_queue_size = 64

    def __init__(self, chance: Random, whims: tuple[Whim, ...] = tuple(Whim)) -> None:
        """Listen; nothing is received before `serve_forever`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
        self.url = f"http://127.0.0.1:{self.server_port}/alerts"
        self.deliveries: list[Delivery] = []
        self.forged: list[str] = []
        self.over = threading.Event()
        self._webhook = Webhook(self.secret)
        self._whims = cycle(chance.sample(whims, len(whims)))
        self._lock = threading.Lock()
        self._spent: Counter[str] = Counter()

    def receive(self, body: bytes, headers: dict[str, str]) -> Whim:
        """Note an attempt; return what is to become of it."""
        try:
            event = self._webhook.verify(body, headers)
        except WebhookVerificationError as error:
            self.forged.append(f"{error}: {headers}, {body!r}")
            return Whim.FAILS
        # Behind what the installation is called.
        webhook_id = headers["webhook-id"].rpartition("_")[2]
        with self._lock:
            whim = next(self._whims) if self._spent[webhook_id] < WHIMS_MAX else Whim.ACCEPTS
            self._spent[webhook_id] += 1
            self.deliveries.append(Delivery(webhook_id=webhook_id, body=event, whim=whim))
        return whim

    @property
    def taken(self) -> dict[str, list[Any]]:
        """What was taken: the bodies of each event, by its id."""
        taken = defaultdict(list)
        for delivery in self.deliveries:
            if delivery.whim in TAKEN:
                taken[delivery.webhook_id].append(delivery.body)
        return dict(taken)

    def whims(self) -> Counter[Whim]:
        """Count what became of all attempts."""
        return Counter(delivery.whim for delivery in self.deliveries)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it was killed, or gave it up, in the middle: nothing has come.
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        whim = self.server.receive(body, headers)
        if whim in {Whim.HANGS, Whim.FORGETS}:
            self._wait_until_nobody_listens()
        elif whim is not Whim.HANGS_UP:
            self._answer(500 if whim is Whim.FAILS else 204)
        self.close_connection = True

    def _wait_until_nobody_listens(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server.over.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return

    def _answer(self, status: int) -> None:
        try:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()
        except ConnectionError:
            # The sender was killed meanwhile.
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiver_of(chance: Random, *whims: Whim) -> Iterator[Receiver]:
    """Run a receiver, with all whims unless told."""
    with Receiver(chance, whims or tuple(Whim)) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=[0.05])
        thread.start()
        try:
            yield receiver
        finally:
            receiver.over.set()
            receiver.shutdown()
            thread.join()


def compact(body: Any) -> str:
    """Return a body as text that is the same for the same content."""
    return json.dumps(body, sort_keys=True)
