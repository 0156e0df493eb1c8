"""Who takes the alerts of a server that is measured? A receiver in a thread of its own, which says yes to all."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from benchmarks.link import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator


class Webhooks(ThreadingHTTPServer):
    """Takes webhooks on a port of this machine, and keeps their ids."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen."""
        super().__init__((HOST, 0), _Handler)
        self.ids: set[str] = set()
        self.url = f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Webhooks

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.ids.add(self.headers["webhook-id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def webhooks() -> Iterator[Webhooks]:
    """Take webhooks for a while."""
    with Webhooks() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
